"""Commands about networks: ``python -m dnn`` lists them, with a name it runs one.

A command is a module of the package with `make_parser` and `main`, and a line in this table, which
also opens its help.
"""

from ivector.base.commands import Command

COMMANDS = {
    "configuration": Command(
        "dnn.configuration.__main__", "write the configuration that a task has by default"
    ),
    "miniature": Command(
        "dnn.miniature", "generate a miniature set in the format of an identification task"
    ),
    "train": Command(
        "dnn.train", "train a speaker network on stored features; resumes where it was stopped"
    ),
    "deep-speaker": Command(
        "dnn.deep_speaker", "train Deep Speaker, one phase at a time; resumes where it was stopped"
    ),
    "curves": Command("dnn.curves", "draw training curves"),
    "extract": Command("dnn.extract", "embeddings of utterances by a trained network"),
    "export": Command("dnn.export", "write a trained network as an ONNX file"),
    "embed": Command(
        "dnn.embed", "embeddings of recordings by any speaker network in an ONNX file"
    ),
    "verify": Command("dnn.verify", "cosine scores of a trial list by embeddings"),
    "identify": Command(
        "dnn.identify",
        "closed-set speaker identification by a network: train, test, predict, sweep, report",
    ),
}
