"""Measures of the answers in a report, row by row, and how far two arms lie apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixing_buddy.evaluation.bootstrap import SongBootstrap
from mixing_buddy.evaluation.calibration import posterior_array
from mixing_buddy.evaluation.verdicts import decide
from mixing_buddy.flaws import FLAWS, Category

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Measure:
    """One column of a table.

    Args:
        name: what it is called.
        unit: "%" or "dB".
        is_better_high: whether more is better.
    """

    name: str
    unit: str
    is_better_high: bool = True

    @property
    def scale(self) -> float:
        """What values are multiplied by to be in the unit."""
        return 100.0 if self.unit == "%" else 1.0


JOINT = Measure("joint", "%")
NO_ERROR = Measure("balanced mixes called balanced", "%")
MAGNITUDE = Measure("magnitude, flawed mixes", "%")
ERROR_DB = Measure("error", "dB", is_better_high=False)


@dataclass(frozen=True)
class Answers:
    """What one report says of each row.

    Args:
        songs: which song each row is of.
        columns: for each measure numerators and denominators, both of shape `(num_rows,)`.
    """

    songs: Sequence[str]
    columns: Mapping[Measure, tuple[np.ndarray, np.ndarray]]

    def value(self, measure: Measure) -> float:
        """The measure over all rows, in its unit; NaN where no row counts."""
        numerators, denominators = self.columns[measure]
        total = denominators.sum()
        return measure.scale * float(numerators.sum() / total) if total else float("nan")

    def interval(self, measure: Measure) -> tuple[float, float] | None:
        """Its 95 % interval by bootstrap over songs; None with fewer than two."""
        ends = SongBootstrap(self.songs).interval(*self.columns[measure])
        return ends and (ends[0] * measure.scale, ends[1] * measure.scale)


def read_answers(folder: Path, read: str = "greedy") -> Answers:
    """Read the answers of a report.

    Args:
        folder: that `mixing-buddy evaluate --out` or `make-planted` wrote.
        read: "greedy": the text; "ranked": the most probable advice; "question", "window" or
            "song": what whole songs were advised, see `planting.py`.
    """
    with (folder / "answers.jsonl").open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    columns = _columns(lines, _READERS.get(read, lambda line: _planted(line, read)))
    return Answers([_song(line) for line in lines], columns)


def pool(answers: Sequence[Answers]) -> Answers:
    """Join the answers of several seeds; a song stays one song."""
    measures = answers[0].columns
    columns = {
        measure: tuple(
            np.concatenate([each.columns[measure][part] for each in answers]) for part in (0, 1)
        )
        for measure in measures
    }
    return Answers([song for each in answers for song in each.songs], columns)


def difference_interval(
    arm: Answers, baseline: Answers, measure: Measure
) -> tuple[float, float] | None:
    """Interval of how far an arm lies above another, in the measure's unit.

    Songs are drawn for both at once: the same for both where both were asked about them, which
    makes it a paired comparison, and independently where the songs differ.

    Returns:
        Lower and upper end; None where one of them has fewer than two songs.
    """
    if min(len(set(each.songs)) for each in (arm, baseline)) < 2:
        return None
    bootstrap = SongBootstrap([*arm.songs, *baseline.songs])
    before, after = np.zeros(len(arm.songs)), np.zeros(len(baseline.songs))
    ends = bootstrap.difference_interval(
        *(np.concatenate([part, after]) for part in arm.columns[measure]),
        *(np.concatenate([before, part]) for part in baseline.columns[measure]),
    )
    return ends and (ends[0] * measure.scale, ends[1] * measure.scale)


def baseline_values(folder: Path) -> dict[str, float]:
    """Joint accuracy of each baseline in a report, in %; empty where none were asked."""
    path = folder / "report.json"
    if not path.is_file():
        return {}
    report = json.loads(path.read_text(encoding="utf-8"))
    return {name: 100 * sums["joint"] for name, sums in report["baselines"].items()}


def _song(line: Line) -> str:
    return line.get("song") or "/".join(line["uid"].split("/")[:3])


def _category(line: Line) -> str:
    return line["uid"].split("/")[-2]


def _greedy(line: Line) -> dict[Measure, tuple[float, float]]:
    if "error_db" in line:
        errors_db = line["error_db"].values()
        return {JOINT: (line["joint"], 1), ERROR_DB: (sum(errors_db), len(errors_db))}
    return _advice(line, line["joint"], line["magnitude"])


def _ranked(line: Line) -> dict[Measure, tuple[float, float]]:
    verdict = decide(posterior_array([line["posterior"]]))[0]
    category, target = Category(_category(line)), _target(line)
    if category is Category.NO_ERROR or verdict is None:
        right = category is Category.NO_ERROR and verdict is None
        return _advice(line, right, False)
    stem, said = verdict
    joint = stem == target and FLAWS[said].direction == FLAWS[category].direction
    # The range of the category that is said lies in the true one only where both are of one size.
    magnitude = FLAWS[said].min_db == FLAWS[category].min_db
    return _advice(line, joint, magnitude)


def _target(line: Line) -> str:
    """The stem that is off, out of ".../vocals-vs-bass/loud/7"."""
    return line["uid"].split("/")[-3].partition("-vs-")[0]


def _planted(line: Line, read: str) -> dict[Measure, tuple[float, float]]:
    right, asked = line["counts"][read]
    share = right / asked if asked else 0.0
    is_balanced = line["moved"] is None
    return {
        JOINT: (share, float(asked > 0)),
        NO_ERROR: (share * is_balanced, float(is_balanced and asked > 0)),
    }


def _advice(line: Line, joint: bool, magnitude: bool) -> dict[Measure, tuple[float, float]]:
    is_balanced = _category(line) == Category.NO_ERROR
    return {
        JOINT: (joint, 1),
        NO_ERROR: (joint and is_balanced, is_balanced),
        MAGNITUDE: (magnitude and not is_balanced, not is_balanced),
    }


_READERS: dict[str, Callable[[Line], dict[Measure, tuple[float, float]]]] = {
    "greedy": _greedy,
    "ranked": _ranked,
}


def _columns(
    lines: Sequence[Line], read: Callable[[Line], dict[Measure, tuple[float, float]]]
) -> dict[Measure, tuple[np.ndarray, np.ndarray]]:
    rows = [read(line) for line in lines]
    return {
        measure: tuple(
            np.array([row[measure][part] for row in rows], dtype=float) for part in (0, 1)
        )
        for measure in rows[0]
    }
