"""The frame of every command-line module: one-line errors, exit codes, no tracebacks for users."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import math
import os
import sys
import tempfile
import traceback
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from ivector.base.errors import Exit, UserError, in_options, set_options
from ivector.base.extras import describe_missing
from ivector.base.foreign.names import shown
from ivector.base.log import logged_warnings, setup_logging
from ivector.base.parallel.shards import use_backend
from ivector.base.parallel.workers import BACKENDS

MOST = 2**62  # of a whole number that an option takes


class Parser(argparse.ArgumentParser):
    """ArgumentParser that shows defaults, refuses abbreviations and has ``--verbose``.

    A mistake is told in one line, without the usage, which ``--help`` prints.

    Parameters
    ----------
    parameters : mapping of str to str, optional
        What a command types for parameters of the library, where that is not the option of the
        same name: ``{"n_bootstrap": "--bootstrap"}``.
    """

    def __init__(self, *args: Any, parameters: Mapping[str, str] | None = None, **kwargs: Any):
        self.parameters = dict(parameters or {})
        kwargs.setdefault("formatter_class", argparse.ArgumentDefaultsHelpFormatter)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)
        self.add_argument("--verbose", "-v", action="count", default=0, help="more log lines")

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """The value of an option; numbers that no computer counts to are refused for all alike."""
        value = super()._get_value(action, arg_string)  # type: ignore[misc]
        if isinstance(value, int) and not -MOST <= value <= MOST:
            raise argparse.ArgumentError(
                action, f"takes numbers up to {MOST}, not {arg_string[:40]!r}"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise argparse.ArgumentError(action, f"takes finite numbers, not {arg_string[:40]!r}")
        if "\0" in arg_string:
            raise argparse.ArgumentError(action, f"has a zero byte: {arg_string[:40]!r}")
        return value

    def options(self) -> dict[str, str]:
        """What to type for each parameter of the library that the command takes."""
        found = {}
        for action in self._actions:
            if action.option_strings:  # a place in a configuration is SECTION.NAME
                found[action.dest.rpartition(".")[2]] = action.option_strings[0]
            elif isinstance(action, argparse._SubParsersAction):
                for sub in action.choices.values():
                    found |= sub.options()
        known = self._option_string_actions
        return found | {n: o for n, o in self.parameters.items() if o.split()[0] in known}

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        self.exit(Exit.USAGE, f"{self.prog}: error: {shown(message)}; see --help\n")


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Type of an option that takes whole numbers from `least` to `most`."""
    until = "" if most is None else f" and at most {most}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(
                f"takes whole numbers of at least {least}{until}, not {text!r}"
            )
        return value

    return parse


def number(least: float, most: float = math.inf) -> Callable[[str], float]:
    """Type of an option that takes finite numbers from `least` to `most`."""
    until = "" if math.isinf(most) else f" and at most {most:g}"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and least <= value <= most):
            raise argparse.ArgumentTypeError(
                f"takes numbers of at least {least:g}{until}, not {text!r}"
            )
        return value

    return parse


def name(text: str) -> str:
    """Type of an option that takes a plain name, which becomes part of a file's name."""
    if not text or text.strip(".") == "" or any(c.isspace() or c in "/\\" for c in text):
        raise argparse.ArgumentTypeError(f"takes a name without blanks or slashes, not {text!r}")
    return text


SEED = whole(0, 2**32 - 1)


def add_parallel_options(parser: argparse.ArgumentParser) -> None:
    """Add how shards are run: ``--nj``, ``--backend`` and ``--scheduler``; `run` obeys them."""
    add = parser.add_argument
    add("--nj", type=whole(1), default=1, help="processes; change no result")
    add(
        "--backend", choices=BACKENDS, default="loky", help="what runs shards: processes of this "
        "machine, threads of one process, or a Dask cluster; changes no result",
    )  # fmt: skip
    add(
        "--scheduler", metavar="ADDRESS", help="of a Dask cluster: tcp://HOST:PORT or its file; "
        "without it --backend dask starts --nj processes on this machine",
    )  # fmt: skip


def run(
    parser: argparse.ArgumentParser,
    main: Callable[[argparse.Namespace], int | None],
    argv: Sequence[str] | None = None,
) -> int:
    """Parse `argv`, call ``main(arguments)``, and turn a user's mistake into one line.

    Returns
    -------
    int
        One of `Exit`.
    """

    def body() -> int | None:
        arguments = parser.parse_args(argv)
        setup_logging(getattr(arguments, "verbose", 0))
        words = sys.argv[1:] if argv is None else argv
        set_options(parser.options() if isinstance(parser, Parser) else {}, words)
        with logged_warnings(), contextlib.redirect_stdout(Shown(sys.stdout)):
            if hasattr(arguments, "scheduler"):
                use_backend(arguments.backend, arguments.scheduler)
            return main(arguments)

    return guarded(parser.prog, body)


class Shown(io.TextIOBase):
    """A stream that writes to another one, and shows what that would obey, such as escapes."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text`; lines and tabs stay."""
        self._stream.write(shown(text, "\n\t", 0))
        return len(text)

    def writable(self) -> bool:
        """Return True."""
        return True

    def flush(self) -> None:
        """Flush the other stream."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Whether the other stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Descriptor of the other stream."""
        return self._stream.fileno()


def guarded(prog: str, body: Callable[[], int | None]) -> int:
    """Call `body`, and turn whatever it raises into one line; the exit status as of `run`."""
    _print_anything()
    try:
        return int(body() or Exit.FINE)
    except UserError as error:
        return _complain(prog, str(error), error.exit_code)
    except ModuleNotFoundError as error:
        if not (text := describe_missing(error)):
            return _complain(prog, _fault(error), Exit.FAULT)
        return _complain(prog, text, Exit.DATA)
    except UnicodeEncodeError as error:
        text = f"{error.object!a} cannot be written in {error.encoding}; set PYTHONUTF8=1"
        return _complain(prog, text, Exit.DATA)
    except BrokenPipeError:
        # The reader of our output has gone; point stdout elsewhere so that exit stays quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.FINE)
    except MemoryError as error:
        text = f"not enough memory ({error}); take smaller models, fewer jobs or a larger machine"
        return _complain(prog, text, Exit.DATA)
    except OSError as error:
        return _complain(prog, _describe(error), Exit.DATA)
    except KeyboardInterrupt as error:
        print(f"{prog}: {shown(error) or 'interrupted'}", file=sys.stderr)
        return int(Exit.INTERRUPTED)
    except Exception as error:
        return _complain(prog, _fault(error), Exit.FAULT)


def _fault(error: Exception) -> str:
    """One line on a fault of the program; how it came about goes to a file, or is shown with -v."""
    details = "".join(traceback.format_exception(error))
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}"
    # The same fault has the same reference, whatever the input.
    reference = f"{zlib.crc32(where.encode()):08x}"
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        print(shown(details, "\n\t", 0), end="", file=sys.stderr)
        place = "the lines above"
    else:
        place = "what --verbose shows"
        with contextlib.suppress(OSError):
            handle, place = tempfile.mkstemp(".txt", f"ivector-plda-{reference}-")
            with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(details)
    text = " ".join(str(error).split())[:200]
    return f"a fault of this program, reference {reference} ({where}: {text}); report {place}"


def _print_anything() -> None:
    """Print what an encoding lacks as ?, and file names that are not UTF-8 as they are."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        is_utf8 = sys.stdout.encoding.lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="surrogateescape" if is_utf8 else "replace")


def _describe(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{error.strerror or error or type(error).__name__}"


def _complain(prog: str, text: str, code: int) -> int:
    print(f"{prog}: error: {shown(in_options(text))}", file=sys.stderr)
    return int(code)
