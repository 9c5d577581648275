"""`mixing-buddy build`: make a data set of recipes from folders of songs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mixing_buddy.dataset_builder.building import BuildReport


def build(
    songs: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of songs: FOLDER/{train,validation,test}/SONG/"
            "{bass,drums,other,vocals}.{wav,flac}.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.", show_default=False)],
    sampling: Annotated[
        str,
        typer.Option(
            metavar="enumerate|sample",
            help="Take every target, anchor and category of a chunk, or draw some.",
        ),
    ] = "enumerate",
    samples_per_chunk: Annotated[
        int, typer.Option(min=1, help="How many to draw, with --sampling sample.")
    ] = 10,
    seed: Annotated[int, typer.Option(help="Another seed gives other gains and wordings.")] = 0,
    no_error_tolerance_db: Annotated[
        float,
        typer.Option(min=0.0, max=3.0, help="Balanced mixes may be off by up to this many dB."),
    ] = 0.0,
    num_proc: Annotated[
        int, typer.Option(min=1, help="Number of processes; the rows don't depend on it.")
    ] = 1,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="List songs that can't be used, and go on.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the data set that is in OUT.")
    ] = False,
) -> None:
    """Make a data set from folders of songs.

    Songs are cut into chunks of 10 s. In each chunk one stem is made too loud or too quiet
    against another, or left alone, and a question and the right answer are written down. What
    is stored are recipes, not audio: `mixing-buddy render` makes the mixes.

    Example: mixing-buddy build songs/musdb18hq --out datasets/musdb --num-proc 4

    Then, in Python: load_dataset("datasets/musdb", "single_mix", split="train")
    """
    from rich.console import Console

    from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig
    from mixing_buddy.dataset_builder.building import build_dataset

    config = MixingBuddyDatasetConfig(
        sources=tuple(str(folder) for folder in songs),
        sampling=sampling,
        samples_per_chunk=samples_per_chunk,
        seed=seed,
        no_error_tolerance_db=no_error_tolerance_db,
        skip_broken=skip_broken,
    )
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("Decoding songs", total=None)
        report = build_dataset(
            config,
            out,
            num_proc=num_proc,
            overwrite=overwrite,
            on_song=lambda done, total: progress.update(task, completed=done, total=total),
        )
    _print_report(report, out)


def _print_report(report: BuildReport, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from mixing_buddy.flaws import Category

    console = Console()
    table = Table(title=f"{out}: rows by split and category")
    categories = [category.value.replace("_", " ") for category in Category]
    for column in ("split", "songs", "chunks", *categories, "rows"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split, num_chunks in report.chunks.items():
        counts = [report.rows[split, category.value] for category in Category]
        cells = [report.songs[split], num_chunks, *counts, sum(counts)]
        table.add_row(split, *(str(cell) for cell in cells))
    console.print(table)
    for reason, count in report.skipped.most_common():
        console.print(f"Chunks left out: {count} ({reason}).", highlight=False)
    for folder, note in report.notes:
        console.print(f"Note: {folder}: {note}.", highlight=False, markup=False)
    for _, message in report.broken:
        console.print(f"Left out: {message}", highlight=False, markup=False)
