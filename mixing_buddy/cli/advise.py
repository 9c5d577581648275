"""``mixing-buddy advise``: what to change in a mix."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def advise(
    path: Annotated[
        Path,
        typer.Argument(
            help="A mix (WAV, FLAC, Ogg or MP3), or a folder with bass, drums, other and vocals.",
            show_default=False,
        ),
    ],
    anchor: Annotated[
        str | None,
        typer.Option(
            metavar="bass|drums|vocals",
            help="The stem whose level is taken as right. By default each is taken in turn.",
            show_default=False,
        ),
    ] = None,
    fader: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STEM=DB",
            help="Move a stem of the folder before listening, as in vocals=-9. Can be repeated.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Folder or Hub id of a model. By default nano, which is installed with this "
            "command and needs no network.",
            show_default=False,
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Commit of the Hub id.", show_default=False)
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows heard at a time.")] = 16,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Listen to a song and say which stem is too loud or too quiet, and by how much.

    The song is heard in windows of 10 s. Each window gets an answer for each stem taken as right,
    and what explains the answers best is the advice on the song. Stems of a folder are summed as
    they stand, so export them with your fader moves in.

    Example: mixing-buddy advise my-song/stems --anchor drums
    """
    from mixing_buddy.cli.options import load_buddy, parse_faders

    faders_db = parse_faders(fader or [])
    buddy = load_buddy(model, revision, batch_size)
    advice = buddy.advise(path, anchor=anchor, faders_db=faders_db, progress=not as_json)
    if as_json:
        import json

        typer.echo(json.dumps(advice.to_dict(), indent=2, ensure_ascii=False))
    else:
        _print_advice(path, faders_db, advice)


def _print_advice(path: Path, faders_db: dict[str, float], advice) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    moved = ", ".join(f"{stem} {gain_db:+g} dB" for stem, gain_db in faders_db.items())
    table = Table(title=f"{path}" + (f" with {moved}" if moved else ""), title_justify="left")
    for column in ("window", "anchor", "stem", "fader", "advice"):
        table.add_column(column)
    for window in advice.windows:
        end_s = window.start_s + window.duration_s
        table.add_row(
            f"{_clock(window.start_s)}-{_clock(end_s)}",
            window.anchor,
            window.advice.stem or "-",
            _change(window.advice),
            window.advice.text,
        )
    console.print(table)
    for note in advice.notes:
        console.print(f"Note: {note}", markup=False)
    console.print(
        f"Whole song ({advice.num_agreeing} of {len(advice.windows)} answers agree): "
        f"{advice.stem or 'no stem'}, {_change(advice)}",
        markup=False,
    )
    console.print(advice.text, markup=False, style="bold")


def _change(advice) -> str:
    """Say a change as the engineer's hand would make it."""
    if advice.direction is None:
        return "not understood"
    if advice.direction.value == "none":
        return "leave as it is"
    if advice.min_db is None:
        return advice.direction.value
    size = (
        f"{advice.min_db:g}"
        if advice.min_db == advice.max_db
        else (f"{advice.min_db:g} to {advice.max_db:g}")
    )
    return f"{advice.direction.value} by {size} dB"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
