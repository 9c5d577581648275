"""Rows of a dataset as audio files with an index, for people to listen to."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets

from mixing_buddy.audio import write_audio
from mixing_buddy.errors import OutputError, RecipeError
from mixing_buddy.labels import decode_labels
from mixing_buddy.rendering import RenderTransform, parse_sources
from mixing_buddy.rows import open_rows, spread
from mixing_buddy.schema import SINGLE_MIX

#: Columns of the index beside the file's name.
_INDEX_COLUMNS = ("uid", "target", "anchor", "category", "gain_db", "instruction", "response")


def select_rows(
    dataset: str | os.PathLike[str],
    split: str,
    *,
    limit: int,
    uid: str | None = None,
    mode: str = SINGLE_MIX,
) -> datasets.Dataset:
    """Take the row with a uid, or rows spread evenly over a split.

    Raises:
        RecipeError: there is no such dataset, config, split or uid.
    """
    rows = open_rows(dataset, mode, split)
    if uid is not None:
        found = [index for index, value in enumerate(rows["uid"]) if value == uid]
        if not found:
            raise RecipeError(f"{dataset}: no row {uid!r} in split {split!r}.")
        return rows.select(found)
    return spread(rows, limit)


def render_rows(
    rows: Sequence[Mapping[str, Any]], sources: Sequence[str], out: str | os.PathLike[str]
) -> Iterator[Path]:
    """Write the clips of each row as float WAV files, then `index.csv`.

    Yields:
        Each file, once written.

    Raises:
        OutputError: `out` can't be a folder.
        RecipeError: a row can't be rendered.
        SongError: a song is missing or broken.
    """
    transform = RenderTransform(parse_sources(sources))
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: this is a file; name a folder.")
    out.mkdir(parents=True, exist_ok=True)
    index = []
    for row in rows:
        row = decode_labels(row)
        name = re.sub(r"[^\w.-]+", "_", row["uid"])
        clips = transform({column: [value] for column, value in row.items()})["clips"][0]
        for number, (audio, recipe) in enumerate(zip(clips, row["audios"], strict=True), start=1):
            numbered = f"-{number}-{recipe['name']}" if len(clips) > 1 else ""
            path = out / f"{name}{numbered}.wav"
            write_audio(path, audio, row["sample_rate"])
            index.append(
                {"file": path.name, "clip": recipe["name"]}
                | {column: row[column] for column in _INDEX_COLUMNS}
            )
            yield path
    with (out / "index.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=("file", "clip", *_INDEX_COLUMNS))
        writer.writeheader()
        writer.writerows(index)
