"""Closed-set identification: which of the speakers of its training does a network hear?

identifier    The answers of a network, what they are worth, and the picture of them.
training      Training for it: what the tasks choose by their data, and the speed.
sweep         Trainings that differ in one field at a time; what is done is not done again.
sweep_report  Their report in Markdown: tables, curves, confusions, hardware.
"""

from dnn.extra import attach

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
