"""Changing files: parts of their bytes, and all at once."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from mixing_buddy.errors import OutputError


def apply_edits(data: bytes, edits: Sequence[tuple[int, int, bytes]]) -> bytes:
    """Replace parts of some bytes.

    Args:
        data: the bytes.
        edits: first byte, byte after the last one, and what stands there instead, for each part;
            parts don't overlap.
    """
    pieces, place = [], 0
    for start, end, text in sorted(edits):
        pieces += [data[place:start], text]
        place = end
    return b"".join([*pieces, data[place:]])


@contextlib.contextmanager
def open_to_replace(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes its name only when everything has been written.

    Yields:
        A file open for writing bytes. If the block raises, it goes and `path` stays as it was.

    Raises:
        OutputError: nothing can be written there.
    """
    temporary = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(
            f"{path}: can't be written ({error.strerror or error}). Choose another place."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
