"""``mixing-buddy average``: several trainings as one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def average(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Folders or Hub ids of models, each trained onwards from the same one.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.", show_default=False)],
    share: Annotated[
        list[float] | None,
        typer.Option(
            help="How much a model counts, relative to the others; once for each, in their order. "
            "Alike by default.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Average the weights of models, as one that errs less and costs no more.

    Trainings that were begun from one model and parted by their songs or their seed err
    differently. Of models that were begun apart the mean is worth nothing: evaluate it on songs to
    validate on before you keep it.

    Example: mixing-buddy average runs/nano runs/nano-more --share 2 --share 1 --out runs/mean
    """
    from mixing_buddy.training.averaging import average_models

    typer.echo(f"Written to {average_models(models, out, shares=share or None)}.")
