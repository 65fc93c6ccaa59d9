"""HDF5 files that others wrote: whole in themselves, and damage told as DataError.

Needs h5py, the extra ``hdf5``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ivector.base.errors import DataError, UserError
from ivector.base.extras import told_extra
from ivector.base.foreign.opening import readable


def h5py_module() -> Any:
    """h5py, or a MissingExtraError that says how to get it."""
    with told_extra():
        import h5py

        return h5py


@contextmanager
def open_hdf5(path: str | os.PathLike) -> Iterator[Any]:
    """Open an HDF5 file; whatever h5py says of a damaged one becomes DataError.

    Raises
    ------
    DataError
        It is damaged, or a part of it is elsewhere: a link, external storage, a virtual data set.
    MissingExtraError
        h5py is not installed.
    """
    h5py = h5py_module()
    try:
        with h5py.File(readable(path), "r") as file:
            _refuse_leading(path, file)
            yield file
    except UserError:
        raise
    except Exception as error:  # h5py raises nearly anything for a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: is damaged or no HDF5 file: {reason[:120]}") from error


def _refuse_leading(path: str | os.PathLike, file: Any) -> None:
    """Refuse a file of which a part is elsewhere: links, external storage, virtual data sets."""
    h5py = h5py_module()
    groups, seen = [file["/"]], set()
    while groups:
        group = groups.pop()
        for name in group:
            where = f"{path}: {group.name.rstrip('/')}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise DataError(f"{where} is a link to somewhere else; refused, copy the data here")
            found = group[name]
            if isinstance(found, h5py.Dataset) and (found.external or found.is_virtual):
                raise DataError(f"{where} has its data in other files; refused, copy them here")
            address = h5py.h5o.get_info(found.id).addr
            if isinstance(found, h5py.Group) and address not in seen:
                seen.add(address)
                groups.append(found)
