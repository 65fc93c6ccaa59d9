"""Whether the parts of a training go together: loss, batches, speakers, options."""

from __future__ import annotations

from collections.abc import Sequence

from dnn.data.prefetch import Batches
from dnn.losses.classification import Classifier, SpeakerLoss
from dnn.losses.table import CLASSIFIERS
from dnn.training.options import TrainingOptions
from ivector.base.errors import DataError, UsageError


def check_agreement(
    loss: SpeakerLoss, batches: Batches, options: TrainingOptions, speakers: Sequence[str]
) -> None:
    """Refuse parts that do not go together.

    Raises
    ------
    UsageError
        A loss that compares utterances on batches in parts, or speakers for other classes.
    DataError
        Labels beyond the loss's classes.
    """
    if options.accumulate > 1 and loss.name not in CLASSIFIERS:
        raise UsageError(
            f"{loss.name} compares the utterances of a batch, which accumulate="
            f"{options.accumulate} would cut into parts; take a smaller batch"
        )
    labels = getattr(batches, "labels", None)
    if not isinstance(loss, Classifier) or labels is None or not len(labels):
        return
    if int(labels.max()) >= loss.n_classes:
        raise DataError(
            f"a label is {int(labels.max())}, but the loss has {loss.n_classes} classes, counted "
            "from 0; build it for all training speakers"
        )
    if speakers and len(speakers) != loss.n_classes:
        raise UsageError(f"{len(speakers)} speakers were named for {loss.n_classes} classes")
