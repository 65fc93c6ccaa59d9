"""How features are written: names, `ArkWriter`'s option, and bytes a number."""

from __future__ import annotations

from typing import NamedTuple


class Storage(NamedTuple):
    """A way to write features: `ArkWriter`'s option, and bytes a number."""

    compress: bool | str
    n_bytes: int


STORAGES = {
    "float32": Storage(False, 4),
    "two-byte": Storage("two-byte", 2),
    "compressed": Storage(True, 1),
}
