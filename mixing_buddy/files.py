"""Files that appear whole or not at all, and what is said where they can't be written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
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
    temporary = None
    with refusing(path):
        check_replaceable(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=hidden_prefix(path))
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


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
