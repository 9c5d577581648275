"""Changing parts of the bytes of files."""

from __future__ import annotations

from collections.abc import Sequence


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
