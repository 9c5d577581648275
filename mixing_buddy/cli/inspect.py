"""``mixing-buddy inspect``: see and hear what a dataset holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def inspect(
    dataset: Annotated[
        str,
        typer.Argument(
            help="Folder that `mixing-buddy build` wrote, or a Hub id.", show_default=False
        ),
    ],
    songs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FOLDER",
            help="Folder of songs that the rows name; once for each source. Without it there are "
            "counts only, nothing to hear.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("inspect.html"),
    examples: Annotated[int, typer.Option(min=0, help="Examples of each config.")] = 3,
) -> None:
    """Write one HTML page with counts, histograms of level, and examples to listen to.

    Example: mixing-buddy inspect datasets/musdb --songs songs/musdb18hq --out musdb.html
    """
    from mixing_buddy.inspection import inspect_dataset, write_page

    pages = inspect_dataset(dataset, songs or [], num_examples=examples)
    write_page(dataset, pages, out)
    typer.echo(f"Written to {out}.")
