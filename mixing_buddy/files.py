"""Files that appear whole or not at all, and what is said where they can't be written."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from mixing_buddy.errors import OutputError


@contextlib.contextmanager
def open_to_replace(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes its name only when everything has been written.

    Yields:
        A file open for writing bytes. If the block raises, it goes and `path` stays as it was.

    Raises:
        OutputError: nothing can be written there, or a folder or a device has that name.
    """
    with refusing(path):
        check_replaceable(path)
        with replacing(path) as temporary, temporary.open("wb") as file:
            yield file


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Let a file be written under another name, to take its own when the block ends.

    Yields:
        An empty file beside it. If the block raises, it goes and `path` stays as it was; if the
        process is killed, `remove_leftovers` knows it by its name.

    Raises:
        OSError: nothing can be written there.
    """
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=f"{hidden_prefix(path)}{_host()}-{os.getpid()}-", suffix=".part"
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(files: Iterable[Path]) -> None:
    """Remove what processes of this machine that were killed left of `replacing`.

    Args:
        files: files that may be such; others are left alone.
    """
    for file in files:
        _, of_host, rest = file.name.rpartition(f".{_host()}-")
        pid = rest.partition("-")[0]
        if not of_host or file.suffix != ".part" or not pid.isdecimal():
            continue
        try:
            # Signal 0 only asks whether the process is there.
            os.kill(int(pid), 0)
        except ProcessLookupError:
            file.unlink(missing_ok=True)
        except PermissionError:
            pass


def _host() -> str:
    """Name of this machine, as much of it as a file's name has room for."""
    return socket.gethostname()[:32]


def write_whole(path: Path, text: str) -> None:
    """Write a text file, and the folders it lies in, whole or not at all.

    What UTF-8 can't hold (a file's name may be in another encoding) is written as an escape.

    Raises:
        OutputError: nothing can be written there.
    """
    with refusing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with open_to_replace(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def check_replaceable(path: Path) -> None:
    """Make sure that a name is free, or that of a file that can be replaced.

    Raises:
        OutputError: it is a folder, or a device, which renaming would put a file in the place of.
    """
    with refusing(path):
        if path.exists() and not path.is_file():
            raise OutputError(f"{path}: not written: this is no file. Name a file.")


@contextlib.contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Say of a file that can't be written which one it is, why, and what to do.

    Raises:
        OutputError: the block raised what the system, or libsndfile, raises there.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: can't be written ({error.strerror or error}). Choose another place, or make "
            "room there."
        ) from error


def hidden_prefix(path: Path) -> str:
    """Beginning of a temporary name beside a file, short enough whatever its own name is."""
    # A name may be 255 bytes long, and a character 4 of them.
    return f".{path.name[:40]}."
