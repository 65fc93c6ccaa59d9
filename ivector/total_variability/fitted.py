"""A trained extractor: its parameters under their public names, and its file.

Dimensions
----------
C components, D feature dimension, R rank.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator

from ivector.base.budget import MIB
from ivector.base.errors import DataError
from ivector.base.estimators import UnfittedError
from ivector.base.files import load_model, save_model
from ivector.base.foreign.boundary import foreign
from ivector.base.foreign.schema import Field, Schema
from ivector.total_variability.subspace import BATCH_BYTES, Derived, Subspace, derive

_KIND = "total-variability"
_SCHEMA: Schema = {
    "weights": Field(("C",), least=0),
    "projection": Field(("C", "D", "R")),
    "precision": Field(("C", "D", "D"), definite=True),
    "offset": Field((), least=0),
    "ubm_means": Field(("C", "D"), optional=True),
    "diagonal": Field((), "truth"),
    "objective": Field(("iterations",)),
}

Model = TypeVar("Model", bound="FittedExtractor")


class FittedExtractor(BaseEstimator):
    """What `TotalVariability` is once it is trained; for its attributes see there."""

    memory: int
    model_: Subspace
    n_features_in_: int
    objective_: list[float]

    def subspace(self) -> Subspace:
        """Return the parameters together.

        Raises
        ------
        UnfittedError
            There are none yet.
        """
        if not hasattr(self, "model_"):
            raise UnfittedError("this TotalVariability is not trained: call fit, load or a reader")
        return self.model_

    def set_subspace(self, model: Subspace) -> None:
        """Replace the parameters."""
        # C order, as a file gives it back: a product's last digits may depend on the order.
        arrays = (np.ascontiguousarray(a) for a in (model.projection, model.precision))
        self.model_ = replace(model, projection=next(arrays), precision=next(arrays))
        self.n_features_in_ = int(np.prod(model.projection.shape[:2]))
        self._cache: dict[str, Any] = {}

    def derived(self) -> Derived:
        """Return what extraction needs of the parameters, computed once."""
        model = self.subspace()
        if "derived" not in self._cache:
            batch = min(BATCH_BYTES, self.memory * MIB // 8 or BATCH_BYTES)
            self._cache["derived"] = replace(derive(model), batch_bytes=batch)
        return self._cache["derived"]

    def on_device(self, device: str) -> Any:
        """This extractor as a `DeviceExtractor`, kept until its parameters are replaced.

        Raises
        ------
        UsageError
            There is no such device.
        MissingExtraError
            torch is not installed.
        """
        from ivector.gpu.e_step import DeviceExtractor

        derived = self.derived()
        if device not in self._cache:
            self._cache[device] = DeviceExtractor(device, derived)
        return self._cache[device]

    @property
    def _n_features_out(self) -> int:
        """Number of elements of an i-vector, for ``get_feature_names_out``."""
        return self.subspace().rank

    @property
    def weights_(self) -> np.ndarray:
        """Component weights, from the UBM."""
        return self.subspace().weights

    @property
    def projections_(self) -> np.ndarray:
        """M_c or T_c."""
        return self.subspace().projection

    @property
    def precisions_(self) -> np.ndarray:
        """Σ_c⁻¹."""
        return self.subspace().precision

    @property
    def covariances_(self) -> np.ndarray:
        """Σ_c."""
        return np.linalg.inv(self.subspace().precision)

    @property
    def means_(self) -> np.ndarray:
        """Means of the average utterance."""
        return self.subspace().means

    @property
    def prior_offset_(self) -> float:
        """Mean of element 0 under the prior."""
        return self.subspace().offset

    @classmethod
    def from_subspace(cls: type[Model], model: Subspace, **options: Any) -> Model:
        """Make a fitted extractor of known parameters (a file reader does)."""
        parametrisation = "classical" if model.ubm_means is not None else "kaldi"
        extractor = cls(rank=model.rank, parametrisation=parametrisation, **options)
        extractor.set_subspace(model)
        return extractor

    def save(self, path: str | os.PathLike) -> None:
        """Write the model and its options as ``.npz``."""
        arrays = {
            **self.subspace().arrays(),
            "objective": np.array(getattr(self, "objective_", [])),
        }
        options = self.get_params()
        # What trained it says nothing about the model and must not change a byte.
        del options["n_jobs"], options["memory"], options["device"]
        if not isinstance(options["random_state"], (int, type(None))):
            options["random_state"] = None
        save_model(path, _KIND, arrays, options)

    @classmethod
    def load(cls: type[Model], path: str | os.PathLike) -> Model:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            Not such a file, damaged, or no model.
        """
        arrays, options = load_model(path, _KIND, _SCHEMA)
        with foreign(path, "an extractor of this toolkit"):
            extractor = cls(**options)
            extractor.set_subspace(Subspace.from_arrays(arrays))
            extractor.objective_ = arrays["objective"].tolist()
        if extractor.rank != arrays["projection"].shape[2]:
            raise DataError(f"{path}: says rank {extractor.rank}, its matrices have another")
        return extractor

    def __getstate__(self) -> dict[str, Any]:
        # The derived matrices are as large as the model and quickly made again.
        state = dict(super().__getstate__())
        if "_cache" in state:
            state["_cache"] = {}
        return state
