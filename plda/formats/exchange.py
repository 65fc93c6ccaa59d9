"""Back-ends as other toolkits keep them: folders of Kaldi, of VBx, of pyannote and DiariZen.

D features, k dimensions after LDA. Their chains, with l2(x) = x / ‖x‖ and u the latent vector:

===========  ===============================================================================
Kaldi        u = T(√k l2(A (x − mean.vec) + b) − μ)            mean.vec, transform.mat, plda
VBx          u = T(l2(ldaᵀ l2(x − mean1) − mean2) − μ)                    transform.h5, plda
pyannote     u = T(√k l2(ldaᵀ √D l2(x − mean1) − mean2) − μ)    xvec_transform.npz, plda.npz
===========  ===============================================================================

A chain whose lengths are others is written with the matrix after them scaled, so that what is
compared is the same. VBx and pyannote diagonalise the model again as they read it, which gives the
u above but for order and signs. What is read and written again has the same bytes.

References
----------
F. Landini et al., "Bayesian HMM clustering of x-vector sequences (VBx) in speaker diarization",
Computer Speech & Language 2022.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline

from ivector.base.errors import DataError, UsageError, named
from ivector.base.files import atomic_path, atomic_write, read_arrays
from ivector.base.foreign.arrays import open_arrays
from ivector.base.foreign.boundary import require_room
from ivector.base.foreign.hdf5 import h5py_module, open_hdf5
from ivector.base.foreign.schema import Field, Schema, check_shapes, check_values
from plda.formats.models import (
    load_model,
    read_mean,
    read_plda,
    read_transform,
    save_model,
    write_mean,
    write_plda,
    write_transform,
)
from plda.formats.normal_form import (
    as_affine,
    composed,
    length,
    normal_form,
    scaled_input,
    scaled_model,
    subtracted,
)
from plda.models.plda import PLDA
from plda.transforms.affine import Affine
from plda.transforms.centring import Center
from plda.transforms.length import LengthNorm

_TRANSFORM: Schema = {
    "mean1": Field(("D",)),
    "mean2": Field(("K",)),
    "lda": Field(("D", "K")),
}
_PLDA: Schema = {
    "mu": Field(("K",)),
    "tr": Field(("K", "K")),
    "psi": Field(("K",), least=0),
}
# A message of HDF5 that says when an object was changed: its type, size and version, then seconds.
CHANGED = b"\x12\x00\x08\x00\x00\x00\x00\x00\x01\x00\x00\x00"
_OF_RECIPES = ("transforms.npz", "plda.npz")  # of a back-end of run.sh
_VBX_CHAIN = "train Center LengthNorm LDA LengthNorm PLDA"
_KALDI_CHAIN = "train Center LDA LengthNorm PLDA"


class Layout(NamedTuple):
    """A folder that another toolkit reads.

    Parameters
    ----------
    files : tuple of str
        What it always has; the first layout of which all are there is taken.
    read : callable
        From a folder to a Pipeline that ends in PLDA.
    write : callable
        From a Pipeline and a folder.
    """

    files: tuple[str, ...]
    read: Callable[[Path], Pipeline]
    write: Callable[[Pipeline, Path], None]


def read_backend(path: str | os.PathLike) -> Pipeline:
    """Read a back-end of this or another toolkit.

    Parameters
    ----------
    path : path-like
        A file of `save_model`, a PLDA model of Kaldi, or a folder: of one of `LAYOUTS`, or of a
        back-end of ``run.sh`` with PLDA (``EXP/SYSTEM/backend/FOLD``).

    Returns
    -------
    Pipeline
        Its last step scores; a model alone is the only step.

    Raises
    ------
    DataError
        None of these, or damaged.

    Examples
    --------
    >>> from plda import Center, PLDA, write_backend
    >>> from sklearn.pipeline import make_pipeline
    >>> model = PLDA.from_diagonal([0, 0], [[1, 0], [0, 1]], [3, 0.5])
    >>> center = Center().fit([[1.0, 2], [3, 4]])
    >>> write_backend(make_pipeline(center, LengthNorm(), model), "kaldi", "kaldi")
    >>> read_backend("kaldi")[-1].psi_.tolist()
    [3.0, 0.5]
    """
    path = Path(path)
    if path.is_dir():
        own = [path / name for name in _OF_RECIPES]
        if not all(part.exists() for part in own):
            return _layout_of(path).read(path)
        transforms, model = map(load_model, own)
        with named(str(path)):
            if not isinstance(transforms, Pipeline) or not isinstance(model, PLDA):
                raise DataError(f"{' and '.join(_OF_RECIPES)} are no transforms and PLDA")
        return Pipeline([*transforms.steps, ("plda", model)])
    model = load_model(path) if path.suffix == ".npz" else read_plda(path)
    return model if isinstance(model, Pipeline) else make_pipeline(model)


def write_backend(model: Any, path: str | os.PathLike, layout: str | None = None) -> None:
    """Write a back-end for this or another toolkit.

    Parameters
    ----------
    model : fitted Pipeline, or one estimator
    path : path-like
        A file ending in ``.npz``; with `layout`, a folder, which is made.
    layout : {"kaldi", "vbx", "pyannote"}, optional
        Another toolkit's.

    Raises
    ------
    UsageError
        The other toolkit's files cannot hold such a chain.

    Examples
    --------
    >>> from plda import Center
    >>> write_backend(Center().fit([[0.0, 2], [2, 6]]), "center.npz")
    >>> read_backend("center.npz")[0].mean_.tolist()
    [1.0, 4.0]
    """
    if layout is not None and layout not in LAYOUTS:
        raise UsageError(f"layout is one of {', '.join(LAYOUTS)}, not {layout!r}")
    if layout is None:
        if Path(path).suffix != ".npz":
            raise UsageError(f"{path}: a back-end is one file ending in .npz; else give `layout`")
        save_model(model, path)
        return
    pipeline = model if isinstance(model, Pipeline) else make_pipeline(model)
    LAYOUTS[layout].write(pipeline, Path(path))


def _layout_of(folder: Path) -> Layout:
    for layout in LAYOUTS.values():
        if all((folder / name).exists() for name in layout.files):
            return layout
    known = ", ".join(f"{' + '.join(one.files)} ({name})" for name, one in LAYOUTS.items())
    raise DataError(f"{folder}: holds no back-end; expected one of {known}")


def _read_kaldi(folder: Path) -> Pipeline:
    steps: list[Any] = []
    if (folder / "mean.vec").exists():
        steps.append(read_mean(folder / "mean.vec"))
    if (folder / "transform.mat").exists():
        steps.append(read_transform(folder / "transform.mat"))
    return make_pipeline(*steps, LengthNorm(), read_plda(folder / "plda"))


def _write_kaldi(pipeline: Pipeline, folder: Path) -> None:
    maps, (scale,), model = normal_form(pipeline, 1, "Kaldi", _KALDI_CHAIN)
    steps, n_dims = maps[0], len(model.mean_)
    center = steps.pop(0) if steps and isinstance(steps[0], Center) else None
    if center is not None:
        mean = subtracted([center], "Kaldi", _KALDI_CHAIN)
        center = Center(mean).fit(center.mean_[None])
    affine = as_affine(steps, None if center is None else len(center.mean_))
    for name, part in (("mean.vec", center), ("transform.mat", affine)):
        if part is None and (folder / name).exists():
            raise DataError(
                f"{folder / name}: is not of this back-end, which has none; remove it, or write to "
                "another folder"
            )
    if center is not None:
        write_mean(center, folder / "mean.vec")
    if affine is not None:
        write_transform(affine, folder / "transform.mat")
    factor = length(scale, n_dims) / length(True, n_dims)
    write_plda(scaled_model(model, factor), folder / "plda")


def _two_norms(
    mean1: np.ndarray, lda: np.ndarray, mean2: np.ndarray, scale: bool, model: PLDA
) -> Pipeline:
    """The chain of VBx and of pyannote, whose vectors have length 1 or, `scale`, √dimension."""
    if len(mean2) != len(model.mean_):
        raise DataError(
            f"LDA gives {len(mean2)} dimensions and PLDA takes {len(model.mean_)}; are the two "
            "files of one back-end?"
        )
    matrix = np.hstack([lda.T, -mean2[:, None]])
    center = Center(mean1).fit(mean1[None])
    return make_pipeline(center, LengthNorm(scale), Affine(matrix), LengthNorm(scale), model)


def _parts_of_two_norms(pipeline: Pipeline, scale: bool, who: str) -> tuple[dict[str, Any], PLDA]:
    """What `_two_norms` makes a chain of: mean1, mean2 and lda, and the model."""
    maps, scales, model = normal_form(pipeline, 2, who, _VBX_CHAIN)
    mean1 = subtracted(maps[0], who, _VBX_CHAIN)
    n_dims = None if mean1 is None else len(mean1)
    n_latent = len(model.mean_)
    if maps[1]:
        matrix = composed(maps[1], n_dims)
    else:
        matrix = np.hstack([np.eye(n_latent), np.zeros((n_latent, 1))])
    n_dims = matrix.shape[1] - 1
    matrix = scaled_input(matrix, length(scales[0], n_dims) / length(scale, n_dims))
    model = scaled_model(model, length(scales[1], n_latent) / length(scale, n_latent))
    if not model.psi_.all():
        raise UsageError(
            f"{who} divides by the between-class variances of PLDA, of which "
            f"{np.count_nonzero(model.psi_ == 0)} are 0; train with fewer dimensions of LDA"
        )
    arrays = {
        "mean1": np.zeros(n_dims) if mean1 is None else mean1,
        "mean2": -matrix[:, -1],
        "lda": np.ascontiguousarray(matrix[:, :-1].T),
    }
    return arrays, model


def _read_vbx(folder: Path) -> Pipeline:
    path = folder / "transform.h5"
    with open_hdf5(path) as file:
        held = {name: file[name] for name in file if name in _TRANSFORM}
        check_shapes(path, held, _TRANSFORM)
        n_bytes = sum(one.size * one.dtype.itemsize for one in held.values())
        require_room(path, n_bytes, "its arrays together")
        arrays = {name: one[()] for name, one in held.items()}
    check_values(path, arrays, _TRANSFORM)
    with named(str(folder)):
        return _two_norms(**arrays, scale=False, model=read_plda(folder / "plda"))


def write_vbx(pipeline: Pipeline, folder: Path, changed: int = 0) -> None:
    """Write a back-end as VBx's ``transform.h5`` and ``plda``.

    Parameters
    ----------
    pipeline : Pipeline
        Center, LengthNorm, LDA or another affine map, LengthNorm, PLDA.
    folder : Path
    changed : int
        When, in seconds since 1970, ``transform.h5`` says that it was changed; always the same,
        so that a back-end always gives the same bytes.

    Raises
    ------
    UsageError
        Another chain, or a variance ψ of 0.
    """
    arrays, model = _parts_of_two_norms(pipeline, False, "VBx")
    h5py = h5py_module()
    with atomic_path(folder / "transform.h5") as temporary:
        places = []
        with h5py.File(temporary, "w") as file:
            for name, array in arrays.items():
                data = file.create_dataset(name, data=array, track_times=True)
                places.append(h5py.h5o.get_info(data.id).addr)
        content = bytearray(temporary.read_bytes())
        for place in places:
            at = content.index(CHANGED, place) + len(CHANGED)
            content[at : at + 4] = changed.to_bytes(4, "little")
        temporary.write_bytes(content)
    write_plda(model, folder / "plda")


def _read_pyannote(folder: Path) -> Pipeline:
    what = "an array file of pyannote"
    with open_arrays(folder / "plda.npz", what) as archive:
        model = read_arrays(folder / "plda.npz", archive, _PLDA)
    with open_arrays(folder / "xvec_transform.npz", what) as archive:
        arrays = read_arrays(folder / "xvec_transform.npz", archive, _TRANSFORM)
    with named(str(folder)):
        plda = PLDA.from_diagonal(model["mu"], model["tr"], model["psi"])
        return _two_norms(**arrays, scale=True, model=plda)


def _write_pyannote(pipeline: Pipeline, folder: Path) -> None:
    arrays, model = _parts_of_two_norms(pipeline, True, "pyannote")
    with atomic_write(folder / "xvec_transform.npz") as file:
        np.savez(file, **arrays)
    with atomic_write(folder / "plda.npz") as file:
        np.savez(file, mu=model.mean_, tr=model.transform_, psi=model.psi_)


LAYOUTS = {
    "pyannote": Layout(("xvec_transform.npz", "plda.npz"), _read_pyannote, _write_pyannote),
    "vbx": Layout(("transform.h5", "plda"), _read_vbx, write_vbx),
    "kaldi": Layout(("plda",), _read_kaldi, _write_kaldi),
}
