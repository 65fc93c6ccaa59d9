"""Errors and warnings that are the user's to mend, told in one line and without a traceback."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake in input or usage; its text names the thing, what is wrong and the cure."""

    exit_code = 1


class DataError(UserError):
    """A file, utterance or array cannot be used (exit code 1)."""


class NotNumbersError(DataError, TypeError):
    """An array of things that are no numbers: a TypeError, too, as scikit-learn's users expect."""


class NotFiniteError(DataError):
    """NaN or infinity came out of a training or a network: other options may do better."""


class UsageError(UserError):
    """An option or a combination of options makes no sense (exit code 2)."""

    exit_code = 2


class DegenerateDataWarning(UserWarning):
    """Data that determine fewer parameters than the model has; says rank and cure."""


class ObjectiveWarning(UserWarning):
    """A training objective fell, which EM in exact arithmetic cannot do."""
