"""``mixing-buddy generate-songs``: procedural multitrack songs to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def generate_songs(
    out: Annotated[Path, typer.Argument(help="Folder to write to, in MUSDB18-HQ's layout.")],
    count: Annotated[int, typer.Option(min=1, help="Number of songs.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Same seed and settings: same files.")] = 0,
    split: Annotated[
        str, typer.Option(help="Folder below OUT. The songs of each split are other songs.")
    ] = "train",
    duration_s: Annotated[float, typer.Option(min=5, help="Seconds of each song.")] = 40.0,
    spread_db: Annotated[
        float,
        typer.Option(
            min=0, help="Standard deviation of each stem's level around the usual balance, in dB."
        ),
    ] = 2.5,
    soundfont: Annotated[
        list[Path] | None,
        typer.Option(
            help="Draw sampled instruments from this SoundFont only. Can be repeated; by default "
            "all that are found (pretty_midi's, Debian's fluid-soundfont-gm and "
            "musescore-general-soundfont-small)."
        ),
    ] = None,
    num_proc: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 1,
) -> None:
    """Generate songs whose balance is known: OUT/SPLIT/song-00000/{bass,drums,other,vocals}.flac.

    Each song has its own key, tempo, harmony, form, instruments and voice, all told in its
    song.json, and stands at the usual balance of a mix give or take --spread-db. Run the same
    command again to go on after an interruption.

    Needs a synthesiser: pip install --no-deps tinysoundfont

    Example: a corpus to train on, and songs of unheard instruments to test with

        mixing-buddy generate-songs songs --count 500 --num-proc 4

        mixing-buddy generate-songs songs --count 50 --split test --soundfont FluidR3_GM.sf2
    """
    from mixing_buddy.generated_songs import generate_songs as generate

    generate(
        out,
        count=count,
        seed=seed,
        split=split,
        duration_s=duration_s,
        spread_db=spread_db,
        soundfonts=soundfont or (),
        num_proc=num_proc,
    )
    typer.echo(f"{count} songs in {out / split}")
