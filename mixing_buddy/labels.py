"""Columns that take one of a few names, and the way from stored numbers back to names.

`datasets` stores such a column as a number (`ClassLabel`): compact, and listed by name in the
viewer. Code here reads names throughout; `decode_labels` is the one place that turns numbers into
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixing_buddy.claims import PromptCategory
from mixing_buddy.flaws import Category, Direction
from mixing_buddy.preferences import RejectedKind
from mixing_buddy.stems import ADVISED_STEMS

#: Names of each labelled column, in the order of their numbers. The order is part of every
#: dataset that was ever published: append, never reorder.
LABELS: dict[str, tuple[str, ...]] = {
    "target": ADVISED_STEMS,
    "anchor": ADVISED_STEMS,
    "category": tuple(category.value for category in Category),
    "direction": tuple(direction.value for direction in Direction),
    "prompt_category": tuple(kind.value for kind in PromptCategory),
    "rejected_kind": tuple(kind.value for kind in RejectedKind),
}


def decode_labels(row: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the numbers of labelled columns by names.

    Args:
        row: a row, or a batch of columns, as `datasets` hands them out. Names and None stay.

    Returns:
        A copy with names.
    """
    decoded = dict(row)
    for column, names in LABELS.items():
        if column in decoded:
            value = decoded[column]
            decoded[column] = (
                [_name(each, names) for each in value]
                if isinstance(value, list)
                else _name(value, names)
            )
    return decoded


def _name(value: int | str | None, names: tuple[str, ...]) -> str | None:
    return value if value is None or isinstance(value, str) else names[int(value)]
