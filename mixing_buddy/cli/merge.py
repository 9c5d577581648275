"""``mixing-buddy merge``: base and adapter as one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    adapter: Annotated[
        str, typer.Argument(help="Folder or Hub id of an adapter.", show_default=False)
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write.", show_default=False)],
    dtype: Annotated[
        str,
        typer.Option(
            metavar="auto|float32|bfloat16|float16",
            help="Data type of the weights; that of the base by default.",
        ),
    ] = "auto",
    revision: Annotated[
        str | None, typer.Option(help="Commit of the Hub id.", show_default=False)
    ] = None,
) -> None:
    """Merge an adapter into the base that it names, as one model that loads by itself.

    The result holds the base's weights, so the base's licences apply to it: with MERT inside it
    is CC BY-NC 4.0.

    Example: mixing-buddy merge runs/7b_qlora models/mixing-buddy-7b --dtype bfloat16
    """
    from mixing_buddy.errors import MixingBuddyError
    from mixing_buddy.model_names import refusing_damage
    from mixing_buddy.training.checkpoints import merge_adapter

    if dtype not in ("auto", "float32", "bfloat16", "float16"):
        raise MixingBuddyError(f"--dtype {dtype}: choose auto, float32, bfloat16 or float16.")
    with refusing_damage(adapter):
        merged = merge_adapter(adapter, out, revision=revision, dtype=dtype)
    typer.echo(f"Written to {merged}.")
