"""Networks: x-vectors and other speaker embeddings, their training and extraction.

Needs torch, the extra ``dnn``, for all but reading options and help.

configuration   A network and its training in one table of fields; files, options, presets.
models          The networks, and the poolings that any of them takes.
losses          Softmax with margins; triplets and others that compare utterances.
data            Utterances, crops and batches, augmentation.
formats         Files that networks alone are trained from.
training        From a configuration to trained weights; checkpoints, validation.
embedding       Trained networks as files; embeddings; scores of trials.
identification  Which of its training speakers does a network hear?
train           ``python -m dnn.train``: train a network on stored features.
extract         ``python -m dnn.extract``: embeddings of utterances.
verify          ``python -m dnn.verify``: cosine scores of a trial list.
identify        ``python -m dnn.identify``: train, test, predict, sweep among known speakers.
deep_speaker    ``python -m dnn.deep_speaker``: softmax, then triplets.
curves          ``python -m dnn.curves``: curves of trainings as a picture.
miniature       ``python -m dnn.miniature``: small sets in the formats of two tasks.
registry        Objects made from a name and plain options, and told back as such.
extra           What is said where torch is not installed, also of names attached.
"""

import os

import ivector  # noqa: F401  # first, as it tells a Python that is too old
from dnn.extra import attach

# On the CPU torch keeps what it prepared for its last 1,024 operations, about 1 MiB each, and crops
# of many lengths fill that. It asks for this once; preparing anew costs a few per cent at most.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

__getattr__, __dir__, __all__ = attach(__name__)
