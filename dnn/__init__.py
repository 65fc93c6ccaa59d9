"""Networks: x-vectors and other speaker embeddings, their training and extraction.

Needs torch, the extra ``dnn``, for all but reading options and help, and `embed`, which needs
onnxruntime, the extra ``onnx``.

configuration   A network and its training in one table of fields; files, options, presets.
models          The networks, and the poolings that any of them takes.
losses          Softmax with margins; triplets and others that compare utterances.
data            Utterances, crops and batches, augmentation.
formats         Files that networks alone are trained from.
training        From a configuration to trained weights; checkpoints, validation.
embedding       Trained networks as files; embeddings; scores of trials.
embedders       Speaker networks of others, in ONNX files, and what they hear.
identification  Which of its training speakers does a network hear?
commands        The table of commands.
__main__        ``python -m dnn``: lists the commands, or runs one.
miniature       Generate a miniature set in the format of an identification task.
train           Train a speaker network on stored features; resumes where it was stopped.
deep_speaker    Train Deep Speaker, one phase at a time; resumes where it was stopped.
curves          Draw training curves.
extract         Embeddings of utterances by a trained network.
export          Write a trained network as an ONNX file.
embed           Embeddings of recordings by any speaker network in an ONNX file.
verify          Cosine scores of a trial list by embeddings.
identify        Closed-set speaker identification by a network: train, test, predict, sweep, report.
registry        Objects made from a name and plain options, and told back as such.
extra           What is said where torch is not installed.
"""

import os

import ivector  # noqa: F401  # first, as it tells a Python that is too old
from dnn.extra import attach

# On the CPU torch keeps what it prepared for its last 1,024 operations, about 1 MiB each, and crops
# of many lengths fill that. It asks for this once; preparing anew costs a few per cent at most.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

__getattr__, __dir__, __all__ = attach(__name__)
