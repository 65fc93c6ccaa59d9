"""Scores and keys as matrices in HDF5, the files of BOSARIS and SIDEKIT (and hyperion, PyBOSARIS).

A file has the ids of R models and C test segments, and matrices (R, C):

======================  ==================================  =============================
what                    BOSARIS, hyperion                   SIDEKIT
======================  ==================================  =============================
models, segments        ``ID/row_ids``, ``ID/column_ids``   ``modelset``, ``segset``
scores                  ``scores``, ``score_mask``          ``scores``, ``score_mask``
key                     ``trial_mask`` of 1, -1 and 0;      ``trial_mask`` of 1, -1 and 0
                        formerly ``target_mask`` and
                        ``nontarget_mask``
index, without labels   ``trial_mask`` of 1 and 0           ``trial_mask`` of 1 and 0
======================  ==================================  =============================

Reading takes whichever of these names a file has. Needs h5py, the extra ``hdf5``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fusion.formats.layouts import LARGEST, NONTARGET, TARGET, UNKNOWN
from fusion.formats.records import Report, refuse
from ivector.base.errors import DataError, UsageError
from ivector.base.files import atomic_path
from ivector.base.foreign.boundary import require_room
from ivector.base.foreign.hdf5 import h5py_module, open_hdf5
from ivector.base.foreign.opening import readable

if TYPE_CHECKING:
    from fusion.formats.tables import Scores, Trials

FLAVOURS = ("bosaris", "sidekit")
_ROWS = ("ID/row_ids", "modelset", "model_names")
_COLUMNS = ("ID/column_ids", "segset", "test_names")
_SCORES = ("scores", "scoremat", "score_mat")
_MASKS = ("score_mask", "scoremask")
_KEYS = ("trial_mask", "trialmask")
_PAIRS = (("target_mask", "nontarget_mask"), ("tar", "non"), ("tar_mask", "non_mask"))
_CELLS = 1 << 22  # cells of a matrix that are looked at together
_MOST_PACKED = 1100  # deflate packs at most 1032 bytes into one


def holds_scores(path: str | os.PathLike) -> bool:
    """Whether a file has a matrix of scores (else it should have a key)."""
    with open_hdf5(path) as file:
        return _first(file, _SCORES) is not None


def read_cells(
    path: str | os.PathLike, scores: bool, report: Report = refuse
) -> tuple[tuple[list[str], list[str]], tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Trials of a file of scores or of a key, model by model.

    Parameters
    ----------
    path : path-like
    scores : bool
        Whether scores are expected, and not a key or an index.
    report : Report
        Told of scores that are not finite.

    Returns
    -------
    ids : tuple of two lists of str
        Of models and of segments.
    codes : tuple of two ndarray (n_trials,) int32
        Positions in them.
    values : ndarray (n_trials,) float64 or int8
        Scores, or labels: 1 target, 0 nontarget, -1 unknown.

    Raises
    ------
    DataError
        The file is damaged, lacks a matrix or ids, their sizes differ, an id comes twice, a score
        is not finite, or h5py is not installed.
    """
    with open_hdf5(path) as file:
        ids = _ids(path, file, _ROWS, "models"), _ids(path, file, _COLUMNS, "test segments")
        shape = len(ids[0]), len(ids[1])
        take = _score_rows if scores else _label_rows
        parts = list(take(path, file, shape))
    rows, columns, values = (
        np.concatenate(arrays) if arrays else np.empty(0) for arrays in zip(*parts)
    )
    if not len(values):
        raise DataError(f"{path}: its mask holds no trials")
    if scores:
        finite = np.isfinite(values)
        for i in np.flatnonzero(~finite | (np.abs(values) > LARGEST)):
            pair = f"'{ids[0][rows[i]]} {ids[1][columns[i]]}'"
            what = "impossibly large; mend the scoring" if finite[i] else "not finite"
            message = f"the score {values[i]:g} of {pair} is {what}"
            if report is refuse:
                raise DataError(f"{path}: {message}")
            report(path, 0, message, "large" if finite[i] else "finite")
    return ids, (rows, columns), values


def _first(file: Any, names: Sequence[str]) -> Any:
    """The first dataset that the file has of some names, or None."""
    h5py = h5py_module()
    return next((file[n] for n in names if isinstance(file.get(n), h5py.Dataset)), None)


def _ids(path: str | os.PathLike, file: Any, names: Sequence[str], what: str) -> list[str]:
    data = _first(file, names)
    if data is None:
        raise DataError(f"{path}: has no ids of {what}; expected {names[0]!r} or {names[1]!r}")
    _require_stored(path, data)
    found = []
    for item in np.ravel(data[()]).tolist():
        if not isinstance(item, (bytes, str)):
            raise DataError(f"{path}: {data.name} holds {type(item).__name__}s and not names")
        try:
            found.append(item if isinstance(item, str) else item.decode("utf-8"))
            found[-1].encode("utf-8")
        except UnicodeError:
            raise DataError(f"{path}: {data.name} has a name that is not UTF-8: {item!r}") from None
    if len(set(found)) < len(found):
        seen: set[str] = set()
        twice = next(name for name in found if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DataError(f"{path}: {data.name} has {twice!r} twice")
    if not found or "" in found:
        raise DataError(f"{path}: {data.name} {'has an empty name' if found else 'is empty'}")
    return found


def _require_stored(path: str | os.PathLike, data: Any) -> None:
    """Refuse a dataset of more numbers than its file can hold: one that is filled, not stored."""
    n_bytes = data.size * data.dtype.itemsize
    stored = os.path.getsize(readable(path))
    if n_bytes > _MOST_PACKED * stored:
        raise DataError(f"{path}: is damaged: {data.name} claims to have {data.size} elements")
    if data.chunks is None:
        return
    chunk = math.prod(data.chunks) * data.dtype.itemsize
    require_room(path, chunk, f"a chunk of {data.name}", stored)


def _bands(path: str | os.PathLike, data: Any, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """Consecutive rows of a matrix, transposed if it is stored so."""
    if data.dtype.kind not in "biuf":
        raise DataError(f"{path}: {data.name} holds no numbers but {data.dtype}")
    if data.shape not in (shape, shape[::-1]):
        raise DataError(
            f"{path}: {data.name} is {' x '.join(map(str, data.shape))}, but there are {shape[0]} "
            f"models and {shape[1]} test segments"
        )
    _require_stored(path, data)
    height = max(1, _CELLS // shape[1])
    for top in range(0, shape[0], height):
        band = slice(top, top + height)
        yield data[band] if data.shape == shape else data[:, band].T


def _score_rows(
    path: str | os.PathLike, file: Any, shape: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    matrix, mask = _first(file, _SCORES), _first(file, _MASKS)
    if matrix is None:
        key = _first(file, _KEYS) is not None
        raise DataError(
            f"{path}: has no scores{', but a key' if key else ''}; expected 'scores' and "
            "'score_mask'"
        )
    top = 0
    # Without a mask NaN stands for what was not scored, as PyBOSARIS writes it.
    masks = _bands(path, mask, shape) if mask is not None else None
    for band in _bands(path, matrix, shape):
        chosen = next(masks) if masks else ~np.isnan(band)
        row, column = np.nonzero(chosen)
        if masks and not (chosen[row, column] == 1).all():
            raise DataError(f"{path}: its mask has values other than 0 and 1")
        yield (
            (row + top).astype(np.int32),
            column.astype(np.int32),
            band[row, column].astype(np.float64),
        )
        top += len(band)


def _label_rows(
    path: str | os.PathLike, file: Any, shape: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    mask = _first(file, _KEYS)
    pair = next(((t, n) for t, n in _PAIRS if t in file and n in file), None)
    if mask is not None:
        bands: Iterator[np.ndarray] = _bands(path, mask, shape)
        labelled = "file_format" in file or any((b < 0).any() for b in _bands(path, mask, shape))
    elif pair:
        bands = _signed(path, file, pair, shape)
        labelled = True
    else:
        scores = _first(file, _SCORES) is not None
        raise DataError(
            f"{path}: has no key{', but scores' if scores else ''}; expected 'trial_mask', or "
            "'target_mask' and 'nontarget_mask'"
        )
    top = 0
    for band in bands:
        row, column = np.nonzero(band)
        signs = band[row, column]
        if not np.isin(signs, (-1, 1)).all():
            raise DataError(f"{path}: the key has values other than 1, -1 and 0")
        labels = np.where(signs > 0, TARGET, NONTARGET) if labelled else UNKNOWN
        yield (
            (row + top).astype(np.int32),
            column.astype(np.int32),
            np.broadcast_to(labels, len(row)).astype(np.int8),
        )
        top += len(band)


def _signed(
    path: str | os.PathLike, file: Any, pair: tuple[str, str], shape: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Targets less nontargets."""
    target, nontarget = (_first(file, (name,)) for name in pair)
    if target is None or nontarget is None:
        raise DataError(f"{path}: {pair[0]} and {pair[1]} are no matrices")
    for tar, non in zip(_bands(path, target, shape), _bands(path, nontarget, shape)):
        if ((tar != 0) & (non != 0)).any():
            raise DataError(f"{path}: {pair[0]} and {pair[1]} have trials in common")
        yield (tar != 0).astype(np.int8) - (non != 0)


def write_scores(path: str | os.PathLike, scores: Scores, flavour: str = "bosaris") -> None:
    """Write scores as a matrix of models by test segments, ids in the order of `scores`.

    Parameters
    ----------
    path : path-like
    scores : Scores
    flavour : {"bosaris", "sidekit"}

    Raises
    ------
    DataError
        A trial comes twice, a score is not finite, h5py is not installed, or the disk fails.
    """
    if not np.isfinite(scores.values).all():
        raise DataError(f"{path}: {np.sum(~np.isfinite(scores.values))} scores are not finite")
    shape = _checked_shape(path, scores)
    matrix, mask = np.zeros(shape), np.zeros(shape, np.uint8)
    matrix[scores.enrol, scores.test] = scores.values
    mask[scores.enrol, scores.test] = 1
    _write(path, scores, {"scores": matrix, "score_mask": mask}, flavour)


def write_key(path: str | os.PathLike, trials: Trials, flavour: str = "bosaris") -> None:
    """Write a trial list as a key, or as an index if no trial has a label.

    Raises
    ------
    DataError
        A trial comes twice, only some have labels, h5py is not installed, or the disk fails.
    """
    unknown = trials.labels == UNKNOWN
    if unknown.any() and not unknown.all():
        raise DataError(
            f"{path}: {unknown.sum()} of {len(trials)} trials have no label, which a key cannot "
            "hold beside others; take them out"
        )
    mask = np.zeros(_checked_shape(path, trials), np.int8)
    mask[trials.enrol, trials.test] = np.where(trials.labels == NONTARGET, -1, 1)
    extra = {} if unknown.any() or flavour != "bosaris" else {"file_format": "2.0"}
    _write(path, trials, {"trial_mask": mask, **extra}, flavour)


def _checked_shape(path: str | os.PathLike, table: Scores | Trials) -> tuple[int, int]:
    """Models and segments, if no trial comes twice."""
    n_segments = len(table.test_ids)
    keys = table.enrol.astype(np.int64) * n_segments + table.test
    if not len(keys):
        raise DataError(f"{path}: there are no trials to write")
    order = np.argsort(keys, kind="stable")
    again = np.flatnonzero(np.diff(keys[order]) == 0) + 1
    if len(again):
        row = int(order[again].min())
        raise DataError(
            f"{path}: '{table.enrol_ids[table.enrol[row]]} {table.test_ids[table.test[row]]}' "
            f"({table.origin.where(row)}) comes twice; a matrix has room for it once"
        )
    return len(table.enrol_ids), n_segments


def _write(
    path: str | os.PathLike, table: Scores | Trials, data: dict[str, Any], flavour: str
) -> None:
    if flavour not in FLAVOURS:
        raise UsageError(f"flavour is one of {', '.join(FLAVOURS)}, not {flavour!r}")
    h5py = h5py_module()
    names = (_ROWS[0], _COLUMNS[0]) if flavour == "bosaris" else (_ROWS[1], _COLUMNS[1])
    with atomic_path(path) as temporary, h5py.File(temporary, "w", track_order=True) as file:
        for name, ids in zip(names, (table.enrol_ids, table.test_ids)):
            # Of one size, as SIDEKIT reads them into an array of bytes.
            file.create_dataset(name, data=np.char.encode(np.array(ids, str), "utf-8"))
        for name, value in data.items():
            packed = {} if isinstance(value, str) else {"compression": "gzip", "fletcher32": True}
            file.create_dataset(name, data=value, **packed)
