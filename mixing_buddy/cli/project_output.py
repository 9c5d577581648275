"""What ``advise`` prints of a workstation's project, and the files for workstations it writes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mixing_buddy.advising.combining import SongAdvice
from mixing_buddy.advising.inputs import SongFiles
from mixing_buddy.advising.reporting import headline
from mixing_buddy.cli.ending import one_line
from mixing_buddy.errors import MixingBuddyError, OutputError
from mixing_buddy.version import __version__
from mixing_buddy.workstations.audacity import label_windows, write_labels
from mixing_buddy.workstations.formats import write_advice
from mixing_buddy.workstations.gains_table import GainRow, list_gains, write_gains
from mixing_buddy.workstations.listening import HeardProject
from mixing_buddy.workstations.project import FaderMove, plan_moves


def check_wanted_files(
    heard: HeardProject | None,
    song: SongFiles,
    *,
    write: Path | None,
    labels: Path | None,
    gains: Path | None,
) -> None:
    """Refuse, before any listening, what could not be written after it.

    Raises:
        MixingBuddyError: a project is to be written where none was read, or gains where no stem
            is known.
        OutputError: a file is there already, or the copy of a project is named otherwise.
    """
    if write is not None and heard is None:
        raise MixingBuddyError(f"{song.path} is no project: --write needs one (.rpp, .dawproject).")
    if gains is not None and song.is_mix:
        raise MixingBuddyError(f"{song.path} is one file: --gains needs tracks.")
    if write is not None and write.suffix.lower() != heard.project.path.suffix.lower():
        raise OutputError(
            f"--write {write}: name it {heard.project.path.suffix}, like the project."
        )
    for path in (write, labels, gains):
        if path is not None and Path(os.path.expanduser(path)).exists():
            raise OutputError(f"{path} is there already: name a new file.")


def print_project(heard: HeardProject) -> None:
    """Print which track was taken for which stem, and what of the project is not heard."""
    console = Console(highlight=False, markup=False, emoji=False)
    table = Table(title=Text(one_line(f"{heard.project.path}")), title_justify="left")
    for column in ("", "track", "fader", "taken as", ""):
        table.add_column(column)
    sounding = {track.number for track in heard.project.heard_tracks()}
    for number, stem in heard.stems.items():
        track = heard.project.tracks[number - 1]
        state = "" if number in sounding else "silent"
        if number in heard.unknown:
            state = "no known word in the name" + (state and f", {state}")
        table.add_row(f"{number}", Text(one_line(track.name)), _level(track.fader_db), stem, state)
    console.print(table)
    if heard.unknown:
        console.print("Note: correct what a track was taken for with --map TRACK=STEM.")
    for warning in heard.project.warnings:
        console.print(f"Note: {one_line(warning)}", markup=False)


def write_wanted_files(
    heard: HeardProject | None,
    song: SongFiles,
    advice: SongAdvice,
    gains_db: Mapping[str, float],
    *,
    faders_db: Mapping[str, float],
    write: Path | None,
    labels: Path | None,
    gains: Path | None,
) -> dict[str, Any] | None:
    """Write the copy of the project, the label track and the table, whichever are asked for.

    Args:
        heard: the project, None where a folder or a mix was heard.
        song: what was heard.
        advice: the advice.
        gains_db: gain in dB by stem, moves before listening and advice together.
        faders_db: the moves before listening alone.
        write: the copy of the project.
        labels: the label track.
        gains: the table.

    Returns:
        The project with the moves of its faders as JSON types; None without a project.
    """
    if labels is not None:
        write_labels(labels, label_windows(advice.windows))
    if heard is None:
        if gains is not None:
            write_gains(gains, _rows_of_files(song, faders_db, gains_db))
        return None
    changes_db = heard.track_changes_db(gains_db)
    moves = plan_moves(heard.project, changes_db)
    if write is not None:
        note = [f"Mixing Buddy {__version__}: {headline(advice)}", *map(_say, moves)]
        write_advice(heard.project, changes_db, write, "\n".join(note) if moves else None)
    if gains is not None:
        write_gains(gains, list_gains(heard.project, heard.stems, moves))
    return _to_json(heard, moves)


def print_wanted_files(
    written: Mapping[str, Any] | None,
    *,
    write: Path | None,
    labels: Path | None,
    gains: Path | None,
) -> None:
    """Print what was written, and each fader that moves.

    Args:
        written: what `write_wanted_files` returned.
        write: the copy of the project.
        labels: the label track.
        gains: the table.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    moves = [] if written is None else [t["move"] for t in written["tracks"] if t["move"]]
    lines = [f"Fader of {move}." for move in moves]
    if write is not None:
        what = "Project with these faders" if moves else "Nothing moves: an unchanged copy was"
        lines.append(f"{what} written to {write}.")
    lines += [f"Labels written to {labels}."] if labels is not None else []
    lines += [f"Gains written to {gains}."] if gains is not None else []
    for line in lines:
        console.print(one_line(line), markup=False)


def _rows_of_files(
    song: SongFiles, faders_db: Mapping[str, float], gains_db: Mapping[str, float]
) -> list[GainRow]:
    rows = []
    for track in song.tracks:
        current_db, new_db = faders_db.get(track.stem, 0.0), gains_db.get(track.stem, 0.0)
        name = track.path.name
        rows.append(GainRow(name, track.stem, current_db, new_db - current_db, new_db))
    return rows


def _to_json(heard: HeardProject, moves: list[FaderMove]) -> dict[str, Any]:
    by_number = {move.track.number: move for move in moves}
    tracks = []
    for number, stem in heard.stems.items():
        track, move = heard.project.tracks[number - 1], by_number.get(number)
        is_known = track.fader_db is not None and math.isfinite(track.fader_db)
        tracks.append(
            {
                "number": number,
                "name": track.name,
                "stem": stem,
                "fader_db": track.fader_db if is_known else None,
                "change_db": 0.0 if move is None else move.change_db,
                "is_clamped": move is not None and move.is_clamped,
                "move": None if move is None else _say(move),
            }
        )
    return {"tracks": tracks, "warnings": list(heard.project.warnings)}


def _say(move: FaderMove) -> str:
    """A move in words."""
    text = f"{move.track.label}: {_level(move.track.fader_db)} to {_level(move.new_db)}"
    if move.is_clamped:
        text += f", the top of its fader ({move.wanted_db:+.1f} dB were wanted)"
    return text


def _level(level_db: float | None) -> str:
    if level_db is None:
        return "-"
    return f"{level_db:+.2f} dB" if math.isfinite(level_db) else "-inf dB"
