"""Closed-set identification: a classifier of known speakers, its training, its sweep of options.

identifier    Closed-set identification: which of its training speakers does a network hear?
training      Training of identification networks: what the tasks have in common, over
              `dnn.training`.
sweep         Trainings that differ in one option at a time, and the report of what that changes.
sweep_report  The report of a sweep in Markdown: task, networks, tables, curves, confusions,
              hardware.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Answers": "dnn.identification.identifier",
        "IdentificationValidation": "dnn.identification.identifier",
        "NAMES_SHOWN": "dnn.identification.identifier",
        "NUMBERS_AT_ONCE": "dnn.identification.identifier",
        "RANK": "dnn.identification.identifier",
        "UTTERANCES_AT_ONCE": "dnn.identification.identifier",
        "WORST_PAIRS": "dnn.identification.identifier",
        "Z": "dnn.identification.identifier",
        "answer": "dnn.identification.identifier",
        "describe_machine": "dnn.identification.identifier",
        "measures": "dnn.identification.identifier",
        "plot_confusion": "dnn.identification.identifier",
        "score_classes": "dnn.identification.identifier",
        "top_k_accuracy": "dnn.identification.identifier",
        "wilson_interval": "dnn.identification.identifier",
        "worst_pairs": "dnn.identification.identifier",
        "write_predictions": "dnn.identification.identifier",
    },
)
