"""What several commands share: how options are read and how models are loaded quietly."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from mixing_buddy.errors import MixingBuddyError

#: Where the songs are that a dataset's rows name.
SongFolders = Annotated[
    list[str],
    typer.Option(
        metavar="[NAME=]FOLDER",
        help="Folder of songs that the rows name; once for each source.",
        show_default=False,
    ),
]

#: Where a model runs, and in which precision: what `MixingBuddy.from_pretrained` takes.
Device = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda|cuda:N|mps", help="Where the model runs; auto: the GPU if any."
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        metavar="auto|float32|bfloat16|float16",
        help="Data type of the weights; auto: as they were saved.",
    ),
]
Quantization = Annotated[
    str | None,
    typer.Option(
        metavar="nf4|int8",
        help="Hold the language model's layers in 4 or 8 bits; needs bitsandbytes.",
        show_default=False,
    ),
]


def parse_faders(faders: Sequence[str]) -> dict[str, float]:
    """Read options of the form ``STEM=DB``, such as ``vocals=-9``.

    Raises:
        MixingBuddyError: if one is not of that form, or names a stem twice.
    """
    gains_db: dict[str, float] = {}
    for text in faders:
        stem, _, value = text.partition("=")
        try:
            gain_db = float(value)
        except ValueError:
            gain_db = float("nan")
        if not -60.0 <= gain_db <= 60.0:
            raise MixingBuddyError(
                f"--fader {text}: write STEM=DB with a gain between -60 and 60 dB, as in vocals=-9."
            )
        if stem in gains_db:
            raise MixingBuddyError(f"--fader {text}: {stem} was moved already.")
        gains_db[stem] = gain_db
    return gains_db


def load_buddy(
    model: str | None,
    revision: str | None,
    batch_size: int,
    *,
    device: str = "auto",
    dtype: str = "auto",
    quantization: str | None = None,
):
    """Load a model without the libraries' progress bars and notes."""
    with _without_collection():
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()

        from mixing_buddy.advising.inference import MixingBuddy

        return MixingBuddy.from_pretrained(
            model,
            revision=revision,
            device=device,
            dtype=dtype,
            quantization=quantization,
            batch_size=batch_size,
        )


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Keep the garbage collector from looking through all that is imported again and again.

    What the libraries make while they are imported stays anyhow; looking through it takes a fifth
    of the time until a model is loaded.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()
