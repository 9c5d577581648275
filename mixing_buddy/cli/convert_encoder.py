"""``mixing-buddy convert-encoder``: pickled encoder weights to safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert_encoder(
    source: Annotated[
        str,
        typer.Argument(help="Hub id, such as m-a-p/MERT-v1-330M, or a folder.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Argument(
            help="Folder to write. Leave it out for a Hub id: then the result is kept in the "
            "Hugging Face cache, and found there under the id.",
            show_default=False,
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Commit of the Hub id.", show_default=False)
    ] = None,
) -> None:
    """Turn an encoder's pickled weights into safetensors, once.

    Mixing Buddy loads safetensors only, and MERT's authors publish a pickle. It is read by
    PyTorch's restricted unpickler, which builds tensors and runs no code.

    Example: mixing-buddy convert-encoder m-a-p/MERT-v1-330M
    """
    from mixing_buddy.encoder_conversion import convert_encoder as convert

    typer.echo(f"Written to {convert(source, out, revision=revision)}.")
