"""``mixing-buddy baselines``: what simple systems, and the best possible, reach."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixing_buddy.cli.options import SongFolders


def baselines(
    dataset: Annotated[
        str,
        typer.Argument(help="Folder that `mixing-buddy build` wrote.", show_default=False),
    ],
    songs: SongFolders,
    train_dataset: Annotated[
        str | None,
        typer.Option(help="Dataset to learn from; the same by default.", show_default=False),
    ] = None,
    train_songs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FOLDER",
            help="Folder of songs to learn from; the same by default.",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[
        str, typer.Option(metavar="single_mix|stems", help="Config of the datasets.")
    ] = "single_mix",
    train_split: Annotated[str, typer.Option(help="Split to learn from.")] = "train",
    split: Annotated[str, typer.Option(help="Split to answer.")] = "test",
    prompt_category: Annotated[
        str | None,
        typer.Option(
            metavar="advice_seeking|audio_only|correct_description|incorrect_description",
            help="Answer only rows whose prompts are of this kind.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="How many rows of each split, spread over it; all by default."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="JSON file for every figure.", show_default=False),
    ] = None,
) -> None:
    """Grade constants, a reader, rules and listeners who know every stem's loudness.

    The ceiling is how far anybody could get: a stem 3 dB up may be taste. A model's figure says
    something only beside these.

    Example: mixing-buddy baselines datasets/generated --songs songs/generated
    """
    import json

    from mixing_buddy.errors import RecipeError
    from mixing_buddy.evaluation.baselines import compare_baselines, hear
    from mixing_buddy.evaluation.levels import LevelMeter, open_labelled_rows
    from mixing_buddy.files import write_whole
    from mixing_buddy.rendering import parse_sources

    # Sources of equal names may be other songs, so each dataset has its own folders.
    train_meter = LevelMeter(parse_sources(train_songs or songs))
    train_rows = open_labelled_rows(train_dataset or dataset, mode, train_split, limit)
    train = hear(train_rows, train_meter)
    test_meter = LevelMeter(parse_sources(songs))
    rows = open_labelled_rows(dataset, mode, split, limit)
    kinds = {row["prompt_category"] for row in rows}
    if prompt_category is not None and prompt_category not in kinds:
        raise RecipeError(
            f"{dataset}: no row of {mode}, {split}, has a prompt of the kind {prompt_category!r} "
            f"(there are: {', '.join(sorted(kinds))})."
        )
    rows = [row for row in rows if prompt_category in (None, row["prompt_category"])]
    test = hear(rows, test_meter)
    reports = compare_baselines(train, test)
    if out is not None:
        write_whole(out, json.dumps(reports, indent=2) + "\n")
    _print_reports(f"{dataset}, {mode}, {split}", reports)


def _print_reports(title: str, reports: dict[str, dict]) -> None:
    from rich.console import Console
    from rich.table import Table

    from mixing_buddy.flaws import Category

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f}"

    first = next(iter(reports.values()))
    table = Table(title=f"{title}: {first['num_rows']} rows of {first['num_songs']} songs, in %")
    table.add_column("baseline", no_wrap=True)
    for name in ("joint", "95 %", *(str(c).replace("_", " ") for c in Category), "size"):
        table.add_column(name, justify="right", no_wrap=name == "95 %")
    # Of the twelve constants that name a flaw, the best stands for all.
    flawed = [name for name in reports if name.startswith("constant") and "balanced" not in name]
    best = max(flawed, key=lambda name: reports[name]["joint"])
    for name, report in reports.items():
        if name in flawed and name != best:
            continue
        interval = report["intervals"]["joint"]
        by_category = report["by"]["category"]
        table.add_row(
            name,
            percent(report["joint"]),
            "-".join(percent(end) for end in interval) if interval else "",
            *(percent(by_category.get(str(c), {}).get("joint")) for c in Category),
            percent(report["magnitude"]),
        )
    Console(markup=False, emoji=False).print(table)
