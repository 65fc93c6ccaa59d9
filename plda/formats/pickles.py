"""Pickles of embeddings are refused, with the line of Python that converts them.

Whoever reads a pickle runs what it says, so only its owner should.
"""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path

from ivector.base.errors import DataError

# How a dump is loaded, by the name's end; what holds the content of any other pickle is Python's.
_TORCH = (".pt", ".pth", ".ckpt", ".bin")
_PICKLE = (".pkl", ".pickle", ".p")
_LOADS = {
    "torch": "import numpy, torch; d = torch.load({path!r}, map_location='cpu')",
    "numpy": "import numpy; d = numpy.load({path!r}, allow_pickle=True).item()",
    "pickle": "import numpy, pickle; d = pickle.load(open({path!r}, 'rb'))",
}
_SAVES = "numpy.savez({out!r}, ids=list(d), vectors=[numpy.ravel(v) for v in d.values()])"


def refuse_pickle(path: Path, start: bytes) -> None:
    """Refuse a file that holds a pickle.

    Parameters
    ----------
    path : Path
    start : bytes
        Its first ones.

    Raises
    ------
    DataError
        It does; names the line that converts a dictionary of ids and vectors.
    """
    kind = _kind(path, start)
    if kind is None:
        return
    line = f"{_LOADS[kind]}; {_SAVES}".format(path=str(path), out=str(path.with_suffix(".npz")))
    raise DataError(
        f"{path}: is a pickle, which runs what its maker wrote, and is not read; if you trust it, "
        f'and it holds a dictionary of ids and vectors: python -c "{line}"'
    )


def _kind(path: Path, start: bytes) -> str | None:
    if start.startswith(b"PK"):
        with suppress(zipfile.BadZipFile, OSError), zipfile.ZipFile(path) as archive:
            if any(name.endswith("/data.pkl") for name in archive.namelist()):
                return "torch"
    if start.startswith(b"\x93NUMPY"):
        return "numpy" if b"'|O'" in start[:256] else None
    # \x80 and the version of the protocol; formerly text, which begins as a pickle of a dictionary.
    if (start[:1] == b"\x80" and start[1:2] <= b"\x05") or start.startswith((b"(dp", b"(lp")):
        return "torch" if path.suffix in _TORCH else "pickle"
    if path.suffix in _PICKLE and not start.startswith(b"PK"):
        return "pickle"
    return None
