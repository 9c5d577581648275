"""What went into a dataset and what did not, song by song and in all."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixing_buddy.songs import SPLITS, Song


@dataclass(frozen=True)
class SongReport:
    """What one song gave.

    Args:
        chunks: number of chunks used.
        rows: number of rows, by mode and category.
        num_bytes: size of the rows in memory, by mode.
        rejected: number of preference pairs, by kind of the rejected answer.
        has_consensus: whether the balanced mix is one that several engineers agree on.
        skipped: number of chunks left out, by reason.
        notes: oddities that did not stop the song from being used.
        error: why the song was left out, None where it was not.
    """

    chunks: int = 0
    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    num_bytes: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    has_consensus: bool = False
    skipped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return dataclasses.asdict(self)


@dataclass
class BuildReport:
    """What went into a dataset, and what did not.

    Args:
        songs: number of songs used, by split.
        chunks: number of chunks used, by split.
        rows: number of rows, by mode, split and category.
        num_bytes: size of the rows in memory, by mode and split.
        rejected: number of preference pairs, by kind of the rejected answer.
        with_consensus: songs whose balanced mix is one that several engineers agree on.
        without_consensus: the other songs.
        unused_consensus: names in the table of consensus that are no song's.
        skipped: number of chunks left out, by reason.
        notes: oddities of songs that were used, as (folder, note).
        broken: songs left out, as (folder, what is wrong).
        licences: number of songs, by source and licence.
        shared_artists: splits of each artist who has songs in more than one.
    """

    songs: Counter[str] = field(default_factory=Counter)
    chunks: Counter[str] = field(default_factory=Counter)
    rows: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    num_bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    with_consensus: list[str] = field(default_factory=list)
    without_consensus: list[str] = field(default_factory=list)
    unused_consensus: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    notes: list[tuple[Path, str]] = field(default_factory=list)
    broken: list[tuple[Path, str]] = field(default_factory=list)
    licences: Counter[tuple[str, str]] = field(default_factory=Counter)
    shared_artists: dict[str, list[str]] = field(default_factory=dict)

    def add(self, song: Song, report: SongReport) -> None:
        """Count what one song gave."""
        if report.error is not None:
            self.broken.append((song.folder, report.error))
            return
        self.notes += [(song.folder, note) for note in report.notes]
        self.skipped.update(report.skipped)
        if not report.chunks:
            return
        self.songs[song.split] += 1
        self.chunks[song.split] += report.chunks
        self.licences[song.source, song.licence] += 1
        self.rejected.update(report.rejected)
        (self.with_consensus if report.has_consensus else self.without_consensus).append(song.name)
        for mode, counts in report.rows.items():
            self.num_bytes[mode, song.split] += report.num_bytes[mode]
            for category, count in counts.items():
                self.rows[mode, song.split, category] += count

    def num_rows(self, mode: str, split: str) -> int:
        """Number of rows of a split in a mode."""
        return sum(count for (of, at, _), count in self.rows.items() if (of, at) == (mode, split))

    @property
    def splits(self) -> list[str]:
        """The splits that have rows, in the usual order."""
        return [split for split in SPLITS if self.chunks[split]]


def shared_artists(songs: Iterable[Song]) -> dict[str, list[str]]:
    """Find artists with songs in more than one split, who make a test easier than it looks.

    Case and guests ("feat. ...") don't count; songs whose name holds no artist are passed over.

    Returns:
        The splits of each such artist, by name.
    """
    splits: dict[str, set[str]] = {}
    names: dict[str, str] = {}
    for song in songs:
        if song.artist is not None and song.split is not None:
            name = re.split(r"\s+(?:feat|ft)\.?\s", song.artist, flags=re.IGNORECASE)[0].strip()
            splits.setdefault(name.casefold(), set()).add(song.split)
            names.setdefault(name.casefold(), name)
    return {
        names[key]: [split for split in SPLITS if split in splits[key]]
        for key in sorted(splits)
        if len(splits[key]) > 1
    }
