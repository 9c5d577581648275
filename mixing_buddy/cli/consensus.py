"""``mixing-buddy consensus``: what several engineers agree on, and how far they differ."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mixing_buddy.errors import MixingBuddyError


class TableFormat(StrEnum):
    """Formats of tables of engineers' balances."""

    TABLE = "table"
    MIXPARAMS = "mixparams"
    MIX_EVALUATION = "mix-evaluation"


class Anchor(StrEnum):
    """What levels may be relative to."""

    BASS = "bass"
    DRUMS = "drums"
    OTHER = "other"
    VOCALS = "vocals"
    MEAN = "mean"


def consensus(
    path: Annotated[
        Path, typer.Argument(help="CSV or Parquet file, or a folder with some.", show_default=False)
    ],
    table_format: Annotated[
        TableFormat,
        typer.Option(
            "--format",
            help="table: columns song, engineer, stem, gain_db. mixparams: MixParams' columns; "
            "give the folder with all its splits. mix-evaluation: tracks.csv or its folder.",
        ),
    ] = TableFormat.TABLE,
    anchor: Annotated[
        list[Anchor] | None,
        typer.Option(
            help="Stem that levels are relative to, or the mean of the stems; vocals by default. "
            "Can be repeated.",
            show_default=False,
        ),
    ] = None,
    stem_names: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="NAME=STEM",
            help="Which stem another name stands for. Can be repeated.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("consensus"),
) -> None:
    """Find what several engineers agree on, from the balances they gave the same songs.

    Writes consensus.csv and consensus.parquet (median and range of each stem in each song, relative
    to the anchor) and report.md with plots: who was set aside, and how far engineers differ.

    Example: mixing-buddy consensus balances.csv --anchor vocals --out consensus
    """
    from mixing_buddy.consensus.report import write_report
    from mixing_buddy.consensus.sources import READERS

    names = {}
    for text in stem_names or []:
        name, separator, stem = text.rpartition("=")
        if not separator or not name:
            raise MixingBuddyError(f"--map {text}: write NAME=STEM, as in vox=vocals.")
        names[name] = stem
    source = READERS[table_format](path, stem_names=names)
    anchors = [one.value for one in anchor or [Anchor.VOCALS]]
    agreed = write_report(source, out, title=path.name, anchors=list(dict.fromkeys(anchors)))
    for note in source.notes:
        typer.echo(f"{note}.")
    typer.echo(f"{len({one.song for one in agreed})} songs with a consensus. See {out}/report.md.")
