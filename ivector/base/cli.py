"""The frame of every command-line module: one-line errors, exit codes, no tracebacks for users."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from ivector.base.errors import UserError
from ivector.base.log import setup_logging


class Parser(argparse.ArgumentParser):
    """ArgumentParser that shows defaults, refuses abbreviations and has ``--verbose``."""

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("formatter_class", argparse.ArgumentDefaultsHelpFormatter)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)
        self.add_argument("--verbose", "-v", action="count", default=0, help="more log lines")


def run(
    parser: argparse.ArgumentParser,
    main: Callable[[argparse.Namespace], int | None],
    argv: Sequence[str] | None = None,
) -> int:
    """Parse `argv`, call ``main(arguments)``, and turn a user's mistake into one line.

    Returns
    -------
    int
        0; 1 for bad data or an unwritable disk; 2 for wrong usage; 130 when interrupted.
    """
    arguments = parser.parse_args(argv)
    setup_logging(getattr(arguments, "verbose", 0))
    try:
        return main(arguments) or 0
    except UserError as error:
        return _complain(parser, str(error), error.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone; point stdout elsewhere so that exit stays quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, MemoryError) as error:
        return _complain(parser, f"{type(error).__name__}: {error}", 1)
    except KeyboardInterrupt:
        return _complain(parser, "interrupted", 130)


def _complain(parser: argparse.ArgumentParser, text: str, code: int) -> int:
    print(f"{parser.prog}: error: {text}", file=sys.stderr)
    return code
