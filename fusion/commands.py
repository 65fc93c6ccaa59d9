"""Commands over score files: ``python -m fusion`` lists them, with a name it runs one.

A command is a module of the package with `make_parser` and `main`, and a line in this table, which
also opens its help.
"""

from ivector.base.commands import Command

COMMANDS = {
    "example": Command(
        "fusion.example", "write simulated scores of three systems, to try the commands on"
    ),
    "lint": Command(
        "fusion.lint", "check score files and trial lists, and say all that is wrong with them"
    ),
    "evaluate": Command(
        "fusion.evaluate", "error rates of score files: EER, minDCF, intervals, DET and ROC plots"
    ),
    "calibrate": Command(
        "fusion.calibrate", "turn the scores of a system into log-likelihood ratios"
    ),
    "fuse": Command("fusion.fuse", "linear logistic fusion of systems to log-likelihood ratios"),
    "compare": Command(
        "fusion.compare", "is one system better than another: differences, intervals, p-values"
    ),
    "validate": Command(
        "fusion.validate", "validate llr as forensic evidence: bounds, misleading rates, intervals"
    ),
    "report": Command(
        "fusion.report.__main__",
        "one page on systems that scored the same trials: tables, plots, cautions",
    ),
}
