"""`mixing-buddy build`: make a dataset of recipes from folders of songs."""

from __future__ import annotations

from collections.abc import Sequence
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
            "{bass,drums,other,vocals}.{wav,flac}, or .../SONG.stem.mp4.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.", show_default=False)],
    mode: Annotated[
        list[str],
        typer.Option(
            metavar="single_mix|stems|differential|preference|all",
            help="What the model hears and answers; once for each config of the dataset.",
        ),
    ] = ["single_mix"],  # noqa: B006 - typer copies it
    sampling: Annotated[
        str,
        typer.Option(
            metavar="enumerate|sample",
            help="Take every combination of target, anchor and category, or draw some.",
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
    references: Annotated[
        int,
        typer.Option(
            min=0, max=10, help="Right answers to list in each row, for scores over several."
        ),
    ] = 0,
    consensus: Annotated[
        Path | None,
        typer.Option(
            help="Table that `mixing-buddy consensus` wrote: for its songs, mix B of the mode "
            "differential is what engineers agree on.",
            show_default=False,
        ),
    ] = None,
    embed_audio: Annotated[
        bool,
        typer.Option(
            "--embed-audio",
            help="Store the audio of each row too (FLAC, some 300 kB a clip), if the licence of "
            "every song allows.",
        ),
    ] = False,
    rows_per_shard: Annotated[
        int | None,
        typer.Option(
            min=1, help="Rows of a Parquet file; 5000, or 500 with audio.", show_default=False
        ),
    ] = None,
    num_proc: Annotated[
        int, typer.Option(min=1, help="Number of processes; the rows don't depend on it.")
    ] = 1,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="List songs that can't be used, and go on.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the dataset that is in OUT.")
    ] = False,
) -> None:
    """Make a dataset from folders of songs.

    Songs are cut into chunks of 10 s. In each chunk one stem is made too loud or too quiet
    against another, or left alone, and a question and the right answer are written down. What
    is stored are recipes, not audio, unless asked for: `mixing-buddy render` makes the mixes.

    MUSDB18-HQ and MUSDB18 work as they are; the 14 songs of their training part that the `musdb`
    package sets aside become the validation split. A build that was stopped goes on when it is
    started again in the same way.

    Example: mixing-buddy build songs/musdb18hq --out datasets/musdb --mode all --num-proc 4

    Then, in Python: load_dataset("datasets/musdb", "differential", split="train")
    """
    from rich.console import Console
    from rich.progress import Progress

    from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig
    from mixing_buddy.dataset_builder.building import BuildSettings, build_dataset
    from mixing_buddy.schema import MODES

    config = MixingBuddyDatasetConfig(
        sources=tuple(str(folder) for folder in songs),
        sampling=sampling,
        samples_per_chunk=samples_per_chunk,
        seed=seed,
        no_error_tolerance_db=no_error_tolerance_db,
        num_references=references,
        consensus=None if consensus is None else str(consensus),
        skip_broken=skip_broken,
    )
    settings = BuildSettings(
        modes=tuple(MODES) if "all" in mode else tuple(dict.fromkeys(mode)),
        embed_audio=embed_audio,
        rows_per_shard=rows_per_shard,
        num_proc=num_proc,
        overwrite=overwrite,
    )
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Building songs", total=None)
        report = build_dataset(
            config,
            out,
            settings,
            on_song=lambda done, total: progress.update(task, completed=done, total=total),
        )
    _print_report(report, settings.modes, out)


def _print_report(report: BuildReport, modes: Sequence[str], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, emoji=False)
    table = Table(title=f"{out}: rows by split and mode")
    table.add_column("split", no_wrap=True)
    for column in ("songs", "chunks", *modes):
        table.add_column(column, justify="right", no_wrap=True)
    for split in report.splits:
        rows = [report.num_rows(mode, split) for mode in modes]
        cells = [report.songs[split], report.chunks[split], *rows]
        table.add_row(split, *(str(cell) for cell in cells))
    console.print(table)
    for reason, count in report.skipped.most_common():
        console.print(f"Chunks left out: {count} ({reason}).", highlight=False)
    for artist, splits in report.shared_artists.items():
        console.print(
            f"Warning: songs of {artist} are in {' and '.join(splits)}: figures on one may "
            "profit from having learnt the other.",
            highlight=False,
            markup=False,
        )
    if report.with_consensus and report.without_consensus:
        console.print(
            f"Warning: no consensus for {len(report.without_consensus)} songs, whose balance as it "
            f"lies stays mix B: {', '.join(report.without_consensus)}.",
            highlight=False,
            markup=False,
        )
    if report.unused_consensus:
        console.print(
            f"Warning: a consensus of songs that are not here: "
            f"{', '.join(report.unused_consensus)}.",
            highlight=False,
            markup=False,
        )
    for folder, note in report.notes:
        console.print(f"Note: {folder}: {note}.", highlight=False, markup=False)
    for _, message in report.broken:
        console.print(f"Left out: {message}", highlight=False, markup=False)
