"""Tables of a report, and how their figures are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Args:
        title: what it shows.
        header: names of the columns.
        rows: as many texts each as the header.
        is_long: whether it is better shown folded.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_long: bool = False


def as_markdown_lines(table: Table) -> list[str]:
    """Write a table in Markdown, without its title."""
    lines = [f"| {' | '.join(table.header)} |", f"|{' --- |' * len(table.header)}"]
    return lines + [f"| {' | '.join(row)} |" for row in table.rows]


def at(tree: Any, path: Sequence[str]) -> Any:
    """Return what stands at a path of nested dicts; None where there is nothing."""
    for name in path:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree


def figure(value: float | None, interval: Sequence[float] | None, unit: str) -> str:
    """Write a figure, with its interval in brackets if it has one."""
    text = number(value, unit)
    return f"{text} ({ends(interval, unit)})" if interval else text


def ends(interval: Sequence[float], unit: str) -> str:
    """Write the ends of an interval."""
    return " to ".join(number(end, unit) for end in interval)


def number(value: float | None, unit: str) -> str:
    """Write a figure.

    Args:
        value: a share for "%"; None is written as a dash.
        unit: "%", "dB", "of 100" or "of 1".
    """
    if value is None:
        return "-"
    if unit == "%":
        return f"{100 * value:.1f}"
    num_digits = {"dB": 2, "of 100": 1, "of 1": 3}[unit]
    return f"{value:.{num_digits}f}"
