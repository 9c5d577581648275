"""``mixing-buddy evaluate``: how often a model is right on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    dataset: Annotated[
        str,
        typer.Argument(help="Folder that `mixing-buddy build` wrote.", show_default=False),
    ],
    songs: Annotated[
        list[str],
        typer.Option(
            metavar="[NAME=]FOLDER",
            help="Folder of songs that the rows name; once for each source.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="Folder or Hub id; nano by default.", show_default=False),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Commit of the Hub id.", show_default=False)
    ] = None,
    mode: Annotated[
        str, typer.Option(metavar="single_mix|stems", help="Config of the data set.")
    ] = "single_mix",
    split: Annotated[str, typer.Option(help="Split to take rows from.")] = "test",
    prompt_category: Annotated[
        str | None,
        typer.Option(
            metavar="advice_seeking|audio_only|correct_description|incorrect_description",
            help="Take only rows whose prompts are of this kind.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="How many rows, spread over the split; all by default."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows heard at a time.")] = 32,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for report.json and answers.jsonl.", show_default=False),
    ] = None,
) -> None:
    """Ask a model about every row of a data set and grade its answers.

    Answers are generated greedily and read back as text, as a user would read them. A row counts
    as right (joint) where stem and direction are; a balanced mix only where the answer says that
    nothing is to be changed.

    Example: mixing-buddy evaluate datasets/generated --songs songs --split test
    """
    from mixing_buddy.cli.options import load_buddy
    from mixing_buddy.evaluation.answering import answer_rows
    from mixing_buddy.evaluation.grading import summarise
    from mixing_buddy.evaluation.reports import write_report

    buddy = load_buddy(model, revision, batch_size)
    rows, answers = answer_rows(
        buddy,
        dataset,
        songs,
        config=mode,
        split=split,
        prompt_category=prompt_category,
        limit=limit,
    )
    report = summarise(rows, answers)
    if out is not None:
        write_report(out, rows, answers, report)
    _print_report(f"{model or 'nano'} on {dataset}, {split}", report)


def _print_report(title: str, report: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f} %"

    detection = report["error_detection"]
    table = Table(title=f"{title}: {report['num_rows']} rows of {report['num_songs']} songs")
    table.add_column("measure")
    table.add_column("share", justify="right")
    for name in ("joint", "stem", "direction", "magnitude"):
        table.add_row(name, percent(report[name]))
    table.add_section()
    for group in ("joint_by_category", "joint_by_target"):
        for name, value in report[group].items():
            table.add_row(f"joint, {name}", percent(value))
        table.add_section()
    for name in ("precision", "recall", "f1"):
        table.add_row(f"error detection, {name}", percent(detection[name]))
    Console().print(table)
