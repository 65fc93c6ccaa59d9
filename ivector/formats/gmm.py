"""Files of mixtures: Kaldi's ``final.dubm`` and ``final.ubm`` (binary and text), and ``.npz``.

Kaldi keeps natural parameters in float32 (``gmm/diag-gmm.cc``, ``gmm/full-gmm.cc``): Σ⁻¹ μ, Σ⁻¹
and gconst_c = log w_c − ½ (D log 2π + log |Σ_c| + μᵀ Σ_c⁻¹ μ). A model that was read keeps them
beside its float64 parameters, as an inverse of an inverse does not always round to the same
number; as long as no parameter is replaced, they are what is written.

Dimension legend: C components, D feature dimensions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from ivector.base.errors import DataError
from ivector.base.files import atomic_write, load_model, save_model
from ivector.base.foreign.boundary import foreign
from ivector.base.foreign.schema import Field, Schema
from ivector.base.kaldi import KaldiReader, KaldiWriter, pack, unpack
from ivector.gmm.diagonal import DiagonalGMM
from ivector.gmm.engine import LOG_2PI, cholesky, log_weights
from ivector.gmm.full import FullGMM
from ivector.gmm.mixture import Mixture

Natural = dict[str, np.ndarray]
Model = TypeVar("Model", bound=Mixture)

_OPTIONS = ("n_iter", "tol", "variance_floor", "min_weight", "min_occupancy", "remove_starved")


def read_diag_gmm(path: str | os.PathLike) -> DiagonalGMM:
    """Read Kaldi's diagonal mixture (``final.dubm``), binary or text.

    Raises
    ------
    DataError
        Missing, cut short, not such a file, or parameters that make no mixture.
    """
    with foreign(path, "a diagonal mixture of Kaldi"):
        reader = KaldiReader(path)
        natural = _read_body(reader, "DiagGMM", "<MEANS_INVVARS>")
        reader.expect("<INV_VARS>")
        precisions = _matrix(reader, natural["means"].shape)
        natural["precisions"] = precisions
        reader.expect("</DiagGMM>")
        reader.end()
        if not (precisions > 0).all():
            raise DataError(f"{path}: holds a variance that is not positive")
        means = natural["means"] / precisions
        return _finish(DiagonalGMM(len(means)), path, natural, means, 1 / precisions)


def read_full_gmm(path: str | os.PathLike) -> FullGMM:
    """Read Kaldi's full-covariance mixture (``final.ubm``), binary or text.

    Raises
    ------
    DataError
        Missing, cut short, not such a file, or parameters that make no mixture.
    """
    with foreign(path, "a full mixture of Kaldi"):
        reader = KaldiReader(path)
        natural = _read_body(reader, "FullGMM", "<MEANS_INVCOVARS>")
        reader.expect("<INV_COVARS>")
        n_components, dim = natural["means"].shape
        rows = []
        for _ in range(n_components):
            packed = reader.packed().astype(np.float64)
            if packed.shape != (dim * (dim + 1) // 2,):
                raise DataError(f"{path}: a covariance does not have {dim} dimensions")
            rows.append(packed)
        reader.expect("</FullGMM>")
        reader.end()
        natural["precisions"] = np.stack(rows)
        precisions = unpack(natural["precisions"])
        if not np.isfinite(precisions).all():  # which LAPACK may take
            raise DataError(f"{path}: a covariance holds NaN or infinity")
        try:
            cholesky(precisions)
        except DataError as error:
            raise DataError(f"{path}: holds a {error}") from None
        covariances = np.linalg.inv(precisions)
        covariances = 0.5 * (covariances + covariances.transpose(0, 2, 1))
        means = np.einsum("cde,ce->cd", covariances, natural["means"])
        return _finish(FullGMM(n_components), path, natural, means, covariances)


def _read_body(reader: KaldiReader, kind: str, means_token: str) -> Natural:
    """Read from the opening token to the means × precisions."""
    # The reader of Kaldi also knows the tokens of older files.
    reader.expect(f"<{kind}>", f"<{kind}Begin>")
    natural: Natural = {}
    while (token := reader.expect("<GCONSTS>", "<WEIGHTS>", means_token)) != means_token:
        natural[token.strip("<>").lower()] = reader.vector().astype(np.float64)
    if "weights" not in natural:
        raise reader.fail("has no <WEIGHTS>")
    natural["means"] = reader.matrix().astype(np.float64)
    if natural["means"].ndim != 2 or len(natural["means"]) != len(natural["weights"]):
        raise reader.fail("has not as many weights as means")
    if len(natural.get("gconsts", natural["weights"])) != len(natural["weights"]):
        raise reader.fail("has not as many <GCONSTS> as <WEIGHTS>")
    return natural


def _matrix(reader: KaldiReader, shape: tuple[int, ...]) -> np.ndarray:
    matrix = reader.matrix().astype(np.float64)
    if matrix.shape != shape:
        raise reader.fail(f"expected a matrix {shape}, found {matrix.shape}")
    return matrix


def _finish(
    model: Model, path: Any, natural: Natural, means: np.ndarray, covariances: np.ndarray
) -> Model:
    try:
        model.set_parameters(natural["weights"], means, covariances)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    model.cached("natural", lambda: natural)
    return model


def natural_parameters(model: DiagonalGMM | FullGMM) -> Natural:
    """Kaldi's parameters of a mixture, float64.

    Returns
    -------
    dict
        gconsts (C,), weights (C,), means (C, D) times precision, precisions (C, D) or packed
        (C, D (D + 1) / 2).
    """
    return model.cached("natural", lambda: _natural(*model.parameters()))


def _natural(weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> Natural:
    if covariances.ndim == 2:
        precisions = 1 / covariances
        scaled = means * precisions
        log_dets = np.log(covariances).sum(axis=1)
    else:
        factors = cholesky(covariances)
        log_dets = 2 * np.log(np.einsum("cdd->cd", factors)).sum(axis=1)
        inverse = np.linalg.inv(factors)
        full = inverse.transpose(0, 2, 1) @ inverse
        scaled = np.einsum("cde,ce->cd", full, means)
        precisions = pack(full)
    squares = (scaled * means).sum(axis=1)
    gconsts = log_weights(weights) - 0.5 * (means.shape[1] * LOG_2PI + log_dets + squares)
    return {"gconsts": gconsts, "weights": weights, "means": scaled, "precisions": precisions}


def write_diag_gmm(path: str | os.PathLike, gmm: DiagonalGMM, binary: bool = True) -> None:
    """Write a diagonal mixture as Kaldi does (``final.dubm``); text if not `binary`."""
    natural = natural_parameters(gmm)
    with atomic_write(path) as file:
        writer = KaldiWriter(file, binary)
        _write_body(writer, "<DiagGMM>", "<MEANS_INVVARS>", natural)
        writer.token("<INV_VARS>")
        writer.matrix(natural["precisions"])
        writer.token("</DiagGMM>")
        writer.newline()


def write_full_gmm(path: str | os.PathLike, gmm: FullGMM, binary: bool = True) -> None:
    """Write a full-covariance mixture as Kaldi does (``final.ubm``); text if not `binary`."""
    natural = natural_parameters(gmm)
    with atomic_write(path) as file:
        writer = KaldiWriter(file, binary)
        _write_body(writer, "<FullGMM>", "<MEANS_INVCOVARS>", natural)
        writer.token("<INV_COVARS>")
        for packed in natural["precisions"]:
            writer.packed(packed)
        writer.token("</FullGMM>")
        writer.newline()


def _write_body(writer: KaldiWriter, opening: str, means_token: str, natural: Natural) -> None:
    writer.token(opening)
    writer.newline()
    if "gconsts" in natural:
        writer.token("<GCONSTS>")
        writer.vector(natural["gconsts"])
    writer.token("<WEIGHTS>")
    writer.vector(natural["weights"])
    writer.token(means_token)
    writer.matrix(natural["means"])


def save_gmm(path: str | os.PathLike, gmm: DiagonalGMM | FullGMM) -> None:
    """Save a mixture with float64 parameters and its options as ``.npz``."""
    weights, means, covariances = gmm.parameters()
    options: dict[str, Any] = {name: getattr(gmm, name) for name in _OPTIONS}
    options["covariance"] = "full" if isinstance(gmm, FullGMM) else "diagonal"
    if isinstance(gmm, FullGMM):
        options |= {"num_gselect": gmm.num_gselect, "max_condition": gmm.max_condition}
    arrays = {
        "weights": weights,
        "means": means,
        "covariances": covariances,
        "log_likelihood": np.asarray(getattr(gmm, "log_likelihood_", []), float),
    }
    save_model(path, "gmm", arrays, options)


def load_gmm(path: str | os.PathLike) -> DiagonalGMM | FullGMM:
    """Load what `save_gmm` wrote.

    Raises
    ------
    DataError
        Not such a file, or damaged.
    """
    arrays, options = load_model(path, "gmm", _schema)
    kind = FullGMM if options.pop("covariance", "") == "full" else DiagonalGMM
    with foreign(path, "a mixture of this toolkit"):
        gmm = kind(len(arrays["weights"]), **options)
        gmm.set_parameters(arrays["weights"], arrays["means"], arrays["covariances"])
        gmm.log_likelihood_ = arrays["log_likelihood"].tolist()
        return gmm


def _schema(options: Mapping[str, Any]) -> Schema:
    """What the arrays of a mixture are; C components, D feature dimensions."""
    full = options.get("covariance") == "full"
    return {
        "weights": Field(("C",), least=0),
        "means": Field(("C", "D")),
        "covariances": Field(("C", "D", "D"), definite=True)
        if full
        else Field(("C", "D"), positive=True),
        "log_likelihood": Field(("iterations",)),
    }


def read_gmm(path: str | os.PathLike) -> DiagonalGMM | FullGMM:
    """Read a mixture of any of these formats, told by its content.

    Raises
    ------
    DataError
        None of them.
    """
    with foreign(path, "a mixture"), open(path, "rb") as file:
        head = file.read(64)
    if head.startswith(b"PK"):
        return load_gmm(path)
    if b"<FullGMM" in head:
        return read_full_gmm(path)
    return read_diag_gmm(path)
