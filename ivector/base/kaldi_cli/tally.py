"""How many entries of a table a command has done, and which it could not."""

from __future__ import annotations

import logging

from ivector.base.errors import DataError

logger = logging.getLogger("tables")


class Tally:
    """Counts entries that are done, and warns of each that is not, as Kaldi's commands do.

    Parameters
    ----------
    things : str
        What the entries are.
    """

    def __init__(self, things: str = "utterances"):
        self.things = things
        self.done = self.failed = 0

    def miss(self, key: str, why: str) -> None:
        """Warn that an entry is left out."""
        self.failed += 1
        logger.warning("%s: %s; left out", key, why)

    def unlike(self, key: str, what: str) -> None:
        """Warn of an entry that is written although something is unusual."""
        logger.warning("%s: %s", key, what)

    def end(self) -> None:
        """Tell the counts.

        Raises
        ------
        DataError
            Nothing was done, so that nothing should be written.
        """
        if not self.done:
            left_out = f": all {self.failed} were left out" if self.failed else ""
            raise DataError(f"no {self.things} to write{left_out}")
        logger.info("%d %s done, %d left out", self.done, self.things, self.failed)
