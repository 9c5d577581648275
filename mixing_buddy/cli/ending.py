"""How a run of the command line ends: an exit code, and at most one line of what went wrong."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable

from mixing_buddy.errors import MixingBuddyError

FAILED = 1
INTERRUPTED = 130

#: What `mixing-buddy --help` says of exit codes.
EXIT_CODES = (
    "Exit codes: 0 done; 1 something about the files is wrong, or can't be written (one line says "
    "what); 2 something about the options is wrong; 3 the model is too unsure to advise (advise "
    "only); 130 interrupted by Ctrl-C. Outputs appear whole or not at all."
)


def run_to_its_end(command: Callable[[], object]) -> int:
    """Run a command; what the user got wrong is one line on stderr, never a traceback.

    Args:
        command: what runs it; typer's own ends of it (`SystemExit`) are kept.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        # A file's name may hold bytes that are no UTF-8, and a terminal may not know UTF-8.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    code, message = _run(command)
    try:
        # Here, because what fails when Python flushes at its very end can't be caught.
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        if error.errno != errno.EPIPE and not message:
            message = f"the output can't be written: {error.strerror or error}."
        code = code or FAILED
        _drop_output()
    if message:
        print(f"mixing-buddy: {one_line(message)}", file=sys.stderr)
    return code


def one_line(text: str) -> str:
    """Put a message into one line, with escapes for what a terminal would act on."""
    line = re.sub(r"\s*[\r\n]\s*", " ", text.strip())
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in line
    )


def _run(command: Callable[[], object]) -> tuple[int, str]:
    """Run a command; return its exit code and what to say."""
    try:
        command()
    except MixingBuddyError as error:
        return FAILED, str(error)
    except KeyboardInterrupt:
        return INTERRUPTED, "interrupted."
    except BrokenPipeError:
        _drop_output()
        return FAILED, ""
    except OSError as error:
        return FAILED, _describe(error)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # as typer ends after a KeyboardInterrupt
            return INTERRUPTED, "interrupted."
        return (end.code if isinstance(end.code, int) else int(end.code is not None)), ""
    return 0, ""


def _describe(error: OSError) -> str:
    """Say what the system refused, where, and what to do."""
    if error.errno is None:
        return str(error)
    places = [os.fsdecode(place) for place in (error.filename, error.filename2) if place]
    where = f"{' to '.join(places)}: " if places else ""
    advice = {
        errno.ENOSPC: " Free some space there, or choose another place.",
        errno.EDQUOT: " Free some space there, or choose another place.",
        errno.EROFS: " Choose another place.",
        errno.EACCES: " Choose another place, or change who may use this one.",
        errno.EPERM: " Choose another place, or change who may use this one.",
        errno.ENAMETOOLONG: " Choose a shorter name.",
    }.get(error.errno, "")
    return f"{where}{error.strerror}.{advice}"


def _drop_output() -> None:
    """Send what is still to be printed nowhere: whoever read it has stopped."""
    sys.stdout = open(os.devnull, "w")
