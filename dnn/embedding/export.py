"""Trained networks as files that others can read: weights in safetensors, all else in JSON.

A folder holds ``network.safetensors`` (tensors named ``model.*``, and ``loss.*`` where the training
loss is kept) and ``config.json``: the model's and the loss's names and options, the training
speakers in the order of the classes, and what else the writer added. Nothing in them can run.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dnn.extra import told_extra
from ivector.base.errors import DataError
from ivector.base.files import atomic_write, write_text
from ivector.base.foreign.boundary import check_types, foreign, read_bytes, read_json

if TYPE_CHECKING:
    from torch import nn

    from dnn.losses.classification import Classifier, SpeakerLoss
    from dnn.models.base import SpeakerNetwork

FORMAT = 1
WEIGHTS, CONFIG = "network.safetensors", "config.json"
_MOST_JSON = 1 << 24
_DEPTHS = ("n_blocks", "n_layers")
_CONFIG = {
    "format": int,
    "model": dict,
    "loss": (dict, type(None)),
    "speakers": (list, type(None)),
    "vad": (bool, type(None)),
}


class SpeakerClassifier(NamedTuple):
    """A network, the loss whose `logits` score the classes, and the classes' names."""

    model: SpeakerNetwork
    loss: Classifier
    speakers: list[str]


@told_extra()
def save_network(
    folder: str | os.PathLike,
    model: SpeakerNetwork,
    loss: SpeakerLoss | None = None,
    speakers: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a network into a folder.

    Parameters
    ----------
    folder : path-like
        Made if need be.
    model : SpeakerNetwork
    loss : SpeakerLoss, optional
        Kept for identification among the training speakers.
    speakers : sequence of str
        Names of the classes.
    extra : mapping, optional
        What else ``config.json`` shall hold, such as where the features came from.

    Raises
    ------
    DataError
        The folder cannot be written.

    Examples
    --------
    >>> from dnn import build
    >>> network = build("xvector", n_features=20, channels=(8, 8, 8, 8, 16), embedding_dim=4)
    >>> save_network("exported", network)
    >>> sorted(path.name for path in Path("exported").iterdir())
    ['config.json', 'network.safetensors']
    """
    from safetensors.torch import save

    modules: dict[str, nn.Module] = {"model": model}
    if loss is not None:
        modules["loss"] = loss
    tensors = {
        f"{part}.{key}": tensor.detach().cpu().contiguous()
        for part, module in modules.items()
        for key, tensor in module.state_dict().items()
    }
    config = {
        "format": FORMAT,
        "model": model.config(),
        "loss": None if loss is None else loss.config(),
        "speakers": list(speakers),
        **(extra or {}),
    }
    # The weights name their network too, so that files of two networks are not taken for one. One
    # entry only: safetensors writes several in no fixed order.
    metadata = {"model": json.dumps(config["model"], sort_keys=True)}
    with atomic_write(Path(folder) / WEIGHTS) as file:
        file.write(save(tensors, metadata))
    text = json.dumps(config, indent=2, ensure_ascii=False)
    write_text(Path(folder) / CONFIG, text + "\n")


@told_extra()
def load_network(folder: str | os.PathLike) -> SpeakerNetwork:
    """Read a network that `save_network` wrote, in evaluation mode, on the CPU.

    Raises
    ------
    DataError
        A file is missing or damaged, or the weights are not those of the configuration.

    Examples
    --------
    >>> from dnn import build
    >>> network = build("xvector", n_features=20, channels=(8, 8, 8, 8, 16), embedding_dim=4)
    >>> save_network("xvector", network)
    >>> load_network("xvector").embedding_dim
    4
    """
    from dnn.models import build_from_config

    config, tensors = _read(Path(folder))
    return _filled(Path(folder), "model", build_from_config, config, tensors)


@told_extra()
def load_classifier(folder: str | os.PathLike) -> SpeakerClassifier:
    """Read a network with its classes, for identification; otherwise as `load_network`.

    Raises
    ------
    DataError
        It was trained by a loss without classes, or exported without it.

    Examples
    --------
    >>> from dnn import build, build_loss
    >>> network = build("xvector", n_features=20, channels=(8, 8, 8, 8, 16), embedding_dim=4)
    >>> loss = build_loss("softmax", network.head_dim, 2)
    >>> save_network("classifier", network, loss, ["ann", "bob"])
    >>> load_classifier("classifier").speakers
    ['ann', 'bob']
    """
    from dnn.losses.classification import Classifier
    from dnn.losses.table import build_loss_from_config
    from dnn.models import build_from_config

    config, tensors = _read(Path(folder))
    if not config.get("loss"):
        raise DataError(f"{folder}: holds no classes, only a network; export it with its loss")
    model = _filled(Path(folder), "model", build_from_config, config, tensors)
    loss = _filled(Path(folder), "loss", build_loss_from_config, config, tensors)
    if not isinstance(loss, Classifier):
        raise DataError(
            f"{folder}: was trained by {loss.name}, which has no classes; identify by comparing "
            "embeddings"
        )
    speakers = list(map(str, config.get("speakers") or range(loss.n_classes)))
    if len(speakers) != loss.n_classes:
        raise DataError(
            f"{folder}: names {len(speakers)} speakers for {loss.n_classes} classes; export again"
        )
    return SpeakerClassifier(model, loss, speakers)


def network_folder(folder: Path) -> Path:
    """The folder of an exported network: itself, or that within the folder of its training."""
    inner = folder / "network"
    return inner if not (folder / CONFIG).exists() and (inner / CONFIG).exists() else folder


def read_config(folder: str | os.PathLike) -> dict[str, Any]:
    """What ``config.json`` holds.

    Raises
    ------
    DataError
        It is missing or not such a file.
    """
    path = Path(folder) / CONFIG
    config = read_json(path, "a network's configuration", _MOST_JSON)
    check_types(path, config, _CONFIG, "a network's configuration")
    if not 1 <= config["format"] <= FORMAT:
        raise DataError(f"{path}: format {config.get('format')} is not one this version reads")
    return config


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configuration and tensors of a folder."""
    from safetensors.torch import load

    config = read_config(folder)
    path = folder / WEIGHTS
    with foreign(path, "a safetensors file", "export it again"):
        content = read_bytes(path, "a safetensors file")
        tensors = load(content)
        (size,) = struct.unpack("<Q", content[:8])
        told = json.loads(content[8 : 8 + size]).get("__metadata__", {}).get("model")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise DataError(f"{path}: tensor {name} holds NaN or infinity; train it again")
    if told is not None and told != json.dumps(config["model"], sort_keys=True):
        raise DataError(f"{path}: belongs to another {CONFIG} than the one beside it")
    return config, tensors


def _require_depth(folder: Path, config: Mapping[str, Any], n_tensors: int) -> None:
    """Refuse more blocks or layers than the weights can be of, which would take long to build."""
    options = config.get("options")
    for name in _DEPTHS:
        given = options.get(name, 0) if isinstance(options, Mapping) else 0
        for count in given if isinstance(given, list) else [given]:
            if isinstance(count, int) and count > n_tensors:
                raise DataError(
                    f"{folder / CONFIG}: {name} is {str(count)[:20]}, but {folder / WEIGHTS} has "
                    f"{n_tensors} tensors; export it again"
                )


def _filled(
    folder: Path,
    part: str,
    build: Callable[[Mapping[str, Any]], Any],
    config: Mapping[str, Any],
    tensors: Mapping[str, Any],
) -> Any:
    """A module of the configuration with the weights of the file."""
    import torch

    _require_depth(folder, config[part], len(tensors))
    try:
        with torch.device("meta"):  # shapes only: neither time nor random numbers are spent
            module = build(config[part])
    except Exception as error:  # whatever options of the wrong sort make a constructor raise
        raise DataError(f"{folder / CONFIG}: {part}: {error}") from error
    prefix = f"{part}."
    given = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    expected = module.state_dict()
    if odd := sorted(given.keys() ^ expected.keys()):
        what = "lacks" if odd[0] in expected else "has a foreign"
        raise DataError(f"{folder / WEIGHTS}: {what} tensor {prefix}{odd[0]}; export it again")
    for key, value in expected.items():
        if given[key].shape != value.shape or given[key].dtype != value.dtype:
            raise DataError(
                f"{folder / WEIGHTS}: tensor {prefix}{key} is {given[key].dtype} "
                f"{tuple(given[key].shape)}, expected {value.dtype} {tuple(value.shape)}"
            )
    module.load_state_dict(given, assign=True)
    return module.eval()
