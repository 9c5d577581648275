"""Advice as a label track of Audacity: what was heard, at the place where it was heard.

A label is a line of text: start and end in seconds and the label's words, with tabs between them
(Audacity manual, "Importing and Exporting Labels"). File, Import, Labels reads it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from mixing_buddy.advice import Advice
from mixing_buddy.advising.combining import WindowAdvice
from mixing_buddy.files import open_to_replace
from mixing_buddy.flaws import Direction


@dataclass(frozen=True)
class Label:
    """A region of the label track.

    Args:
        start_s: its start in seconds.
        end_s: its end in seconds.
        text: its words, without tabs and line ends.
    """

    start_s: float
    end_s: float
    text: str


def label_windows(windows: Iterable[WindowAdvice]) -> list[Label]:
    """Make a label for each window: what was answered against each anchor.

    Args:
        windows: the answers, by start.
    """
    labels = []
    for (start_s, duration_s), group in groupby(windows, lambda w: (w.start_s, w.duration_s)):
        answers = [f"against {window.anchor}: {_say(window.advice)}" for window in group]
        labels.append(Label(start_s, start_s + duration_s, "; ".join(answers)))
    return labels


def write_labels(path: str | os.PathLike[str], labels: Iterable[Label]) -> None:
    """Write a label track.

    Raises:
        OutputError: it can't be written there.
    """
    lines = [f"{each.start_s:.6f}\t{each.end_s:.6f}\t{_one_line(each.text)}\n" for each in labels]
    with open_to_replace(Path(os.path.expanduser(path))) as file:
        file.write("".join(lines).encode("utf-8", "replace"))


def _say(advice: Advice) -> str:
    if advice.direction is None:
        return "not understood"
    if advice.direction is Direction.NONE:
        return "balanced"
    if advice.min_db is None:
        return f"{advice.direction.value} {advice.stem}"
    size = f"{advice.min_db:g}"
    if advice.max_db != advice.min_db:
        size += f" to {advice.max_db:g}"
    return f"{advice.direction.value} {advice.stem} by {size} dB"


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
