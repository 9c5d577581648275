"""`mixing-buddy render`: make the mixes of a dataset as audio files, for listening."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def render(
    dataset: Annotated[
        str, typer.Argument(help="Folder that `mixing-buddy build` wrote.", show_default=False)
    ],
    songs: Annotated[
        list[str],
        typer.Option(
            metavar="[NAME=]FOLDER",
            help="Folder of songs that the recipes name; once for each source.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write to.", show_default=False)],
    mode: Annotated[str, typer.Option(help="Config of the dataset to take.")] = "single_mix",
    split: Annotated[str, typer.Option(help="Split to take rows from.")] = "test",
    limit: Annotated[int, typer.Option(min=1, help="How many rows, spread over the split.")] = 10,
    uid: Annotated[
        str | None, typer.Option(help="Only the row with this uid.", show_default=False)
    ] = None,
) -> None:
    """Make the clips of a dataset as WAV files, to listen to, with an index.

    Files are 32-bit float, at the level at which the stems add up: nothing is clipped or
    normalised. `index.csv` says what each one is, with its question and answer.

    Example: mixing-buddy render datasets/musdb --songs songs/musdb18hq --out mixes --limit 5
    """
    from rich.progress import track

    from mixing_buddy.dataset_builder.listening import render_rows, select_rows

    rows = select_rows(dataset, split, limit=limit, uid=uid, mode=mode)
    total = sum(len(clips) for clips in rows["audios"])
    written = list(track(render_rows(rows, songs, out), "Rendering", total=total))
    typer.echo(f"{len(written)} audio files and index.csv written to {out}.")
