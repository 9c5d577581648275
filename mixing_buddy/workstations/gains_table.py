"""Advice as a table of faders (CSV), for workstations whose projects can't be written."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mixing_buddy.files import open_to_replace
from mixing_buddy.workstations.project import FaderMove, Project

COLUMNS = ("track", "stem", "current_db", "change_db", "new_db")


@dataclass(frozen=True)
class GainRow:
    """A row of the table.

    Args:
        track: name of the track.
        stem: stem that it belongs to.
        current_db: where its fader stands, in dB; None where that is not known.
        change_db: the advised change in dB.
        new_db: where its fader goes, in dB; None where that is not known.
    """

    track: str
    stem: str
    current_db: float | None
    change_db: float
    new_db: float | None


def list_gains(
    project: Project, stems: Mapping[int, str], moves: Iterable[FaderMove]
) -> list[GainRow]:
    """List the tracks of a project that hold audio, moved or not.

    Args:
        project: the project.
        stems: stem by number of the track.
        moves: what was done to faders.
    """
    by_number = {move.track.number: move for move in moves}
    rows = []
    for number, stem in sorted(stems.items()):
        track, move = project.tracks[number - 1], by_number.get(number)
        name = track.name or f"Track {number}"
        if move is None:
            rows.append(GainRow(name, stem, track.fader_db, 0.0, track.fader_db))
        else:
            rows.append(GainRow(name, stem, track.fader_db, move.change_db, move.new_db))
    return rows


def write_gains(path: str | os.PathLike[str], rows: Iterable[GainRow]) -> None:
    """Write a table: UTF-8, levels with two decimals, ``-inf`` for a fader all the way down.

    Raises:
        OutputError: it can't be written there.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in rows:
        levels = (row.current_db, row.change_db, row.new_db)
        writer.writerow([row.track, row.stem, *map(_level, levels)])
    with open_to_replace(Path(os.path.expanduser(path))) as file:
        file.write(text.getvalue().encode("utf-8", "replace"))


def _level(level_db: float | None) -> str:
    if level_db is None:
        return ""
    return f"{level_db:.2f}" if math.isfinite(level_db) else "-inf"
