"""``mixing-buddy advise --batch``: a folder of songs, a line of JSON for each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer


def advise_songs(
    folder: Path, out: Path, load: Callable[[], Any], settings: Mapping[str, Any]
) -> None:
    """Advise on all songs of a folder that a file has no advice on yet.

    Args:
        folder: holds mixes, or folders of tracks at any depth.
        out: the file.
        load: loads the model, where there is anything to hear.
        settings: anchor, faders_db, mode and abstain_below, and what names the model.

    Raises:
        MixingBuddyError: the folder holds no songs, or the file can't be used.
        typer.Exit: with 1, where songs could not be advised on.
    """
    from tqdm.auto import tqdm

    from mixing_buddy.advising.batches import AdviceFile, find_songs

    songs = find_songs(folder)
    file = AdviceFile(out, settings)
    left = [song for song in songs if str(song) not in file.done]
    failed = 0
    if left:
        buddy = load()

        from mixing_buddy.advising.reporting import to_json

        mode = None if settings["mode"] == "auto" else settings["mode"]
        results = buddy.advise_many(
            left,
            anchor=settings["anchor"],
            faders_db=settings["faders_db"],
            measure=True,
            mode=mode,
        )
        bar = tqdm(
            results, total=len(songs), initial=len(songs) - len(left), desc="Songs", unit="song"
        )
        for result in bar:
            if result.error is not None:
                failed += 1
                bar.write(f"Left out: {result.error}", file=sys.stderr)
                file.add(result.path, {"error": str(result.error)})
                continue
            told = to_json(
                result.song,
                result.advice,
                faders_db=settings["faders_db"],
                abstain_below=settings["abstain_below"],
                mode=mode or buddy.usual_mode(result.song),
            )
            file.add(result.path, told)
    typer.echo(f"Advice on {len(songs) - failed} of {len(songs)} songs written to {out}.")
    if failed:
        typer.echo(
            f"{failed} could not be advised on: see their lines. The same command tries them "
            "again.",
            err=True,
        )
        raise typer.Exit(1)
