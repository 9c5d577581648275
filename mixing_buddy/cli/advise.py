"""``mixing-buddy advise``: what to change in a mix."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mixing_buddy.cli.options import Device, Dtype, Quantization

#: Exit code where the model was too unsure to advise, or not understood.
ABSTAINED = 3


def advise(
    context: typer.Context,
    path: Annotated[
        Path,
        typer.Argument(
            help="A mix (WAV, FLAC, MP3, Ogg or AIFF), a folder of stems or tracks with any names, "
            "or a project (REAPER's .rpp, or .dawproject).",
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
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="FILE=STEM",
            help="Correct what a file was taken for, as in 'Take 3.wav=vocals'; FILE=skip leaves "
            "it out. Can be repeated.",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[
        Literal["auto", "single_mix", "stems"],
        typer.Option(
            help="What is heard: the mix, or the tracks of a folder one by one (stems), which is "
            "right more often. auto: the tracks, where there are any and the model was trained so."
        ),
    ] = "auto",
    abstain_below: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="P",
            help="Give no advice that is less likely than this; exit code 3 then.",
        ),
    ] = 0.0,
    apply: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write the corrected tracks and their mix there, in the files' own format.",
            show_default=False,
        ),
    ] = None,
    iterate: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Follow the advice and listen again, up to N times, until nothing is off.",
        ),
    ] = 0,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a page with levels, timeline and players.",
            show_default=False,
        ),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(
            metavar="PROJECT",
            help="Write a copy of the project with the advised faders; nothing else changes in it.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a label track for Audacity: the answers, where they were heard.",
            show_default=False,
        ),
    ] = None,
    gains: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a table (CSV) of faders: track, stem, current, change and new level.",
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
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantization: Quantization = None,
    batch: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The path is a folder of songs: write advice on each to FILE, one line of JSON a "
            "song. Goes on where it was broken off.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Listen to a song and say which stem is too loud or too quiet, and by how much.

    The song is heard in windows of 10 s. Each window gets an answer for each stem taken as right,
    and what explains the answers best is the advice on the song. Tracks are summed as they stand,
    so export them with your fader moves in; which is which is guessed from their names and shown.

    Examples:

    mixing-buddy advise my-song.mp3

    mixing-buddy advise my-song/stems --anchor drums --html advice.html

    mixing-buddy advise my-song/tracks --map "Take 3.wav=vocals" --map click.wav=skip

    mixing-buddy advise my-song/stems --iterate 4 --apply my-song/advised

    mixing-buddy advise my-song.wav --abstain-below 0.6 --json

    mixing-buddy advise my-song.rpp --write my-song.advised.rpp

    mixing-buddy advise all-my-songs --batch advice.jsonl

    Exit codes: 0 advice was given (or nothing is off), 1 something about the files is wrong,
    2 something about the options is, 3 the model is too unsure, 130 interrupted.
    """
    from dataclasses import replace
    from functools import partial

    from mixing_buddy.advising.exporting import check_free, export_song
    from mixing_buddy.advising.inputs import open_song
    from mixing_buddy.cli.advice_output import print_advice, print_export, print_tracks
    from mixing_buddy.cli.ending import one_line
    from mixing_buddy.cli.options import load_buddy, parse_faders
    from mixing_buddy.cli.project_output import (
        check_wanted_files,
        print_project,
        print_wanted_files,
        write_wanted_files,
    )
    from mixing_buddy.errors import MixingBuddyError
    from mixing_buddy.workstations.formats import is_project
    from mixing_buddy.workstations.listening import open_project

    faders_db = parse_faders(fader or [])
    load = partial(
        load_buddy,
        model,
        revision,
        batch_size,
        device=device,
        dtype=dtype,
        quantization=quantization,
    )
    if batch is not None:
        if mapping or iterate or as_json or any((apply, html, write, labels, gains)):
            raise typer.BadParameter(
                "--batch goes with --anchor, --fader, --mode, --abstain-below and the options of "
                "the model: the others are for one song.",
                param_hint="--batch",
            )
        from mixing_buddy.cli.advise_batch import advise_songs

        settings = {
            "model": model or "nano",
            "revision": revision,
            "dtype": dtype,
            "quantization": quantization,
            "anchor": anchor,
            "faders_db": faders_db,
            "mode": mode,
            "abstain_below": abstain_below,
        }
        advise_songs(path, batch, load, settings)
        return
    heard = None
    if is_project(path):
        if apply is not None:
            raise MixingBuddyError(f"{path} is a project: --write makes its copy, not --apply.")
        heard = context.with_resource(
            open_project(path, mapping=mapping or [], progress=not as_json)
        )
        song = replace(open_song(heard.folder), path=heard.project.path)
    else:
        song = open_song(path, mapping=mapping or [])
    check_wanted_files(heard, song, write=write, labels=labels, gains=gains)
    if song.is_mix and (apply is not None or iterate):
        raise MixingBuddyError(
            f"{path} is one file, in which no stem can be moved: --apply and --iterate need a "
            "folder of stems."
        )
    if song.is_mix and mode == "stems":
        raise MixingBuddyError(f"{path} is one file: --mode stems needs a folder of stems.")
    if apply is not None:
        check_free(apply)
    if html is not None:
        from mixing_buddy.advising.page import check_page

        check_page(html, song)
    if not as_json and heard is not None:
        print_project(heard)
    elif not as_json:
        print_tracks(song)
    if not as_json:
        # Before the libraries are imported, which takes seconds.
        typer.echo(
            one_line(f"{song.path}: {song.duration_s:.0f} s. Loading {model or 'nano'} to listen."),
            err=True,
        )
    buddy = load()
    heard_as = buddy.usual_mode(song) if mode == "auto" else mode
    if heard_as == "stems" and not as_json:
        typer.echo("Listening to the tracks one by one.", err=True)

    from mixing_buddy.advising.applying import add_gains, advised_change_db
    from mixing_buddy.advising.reporting import is_abstained, to_json

    def listen(gains_db):
        return buddy.advise(
            song,
            anchor=anchor,
            faders_db={stem: gain_db for stem, gain_db in gains_db.items() if gain_db},
            measure=True,
            mode=heard_as,
            progress=not as_json,
        )

    iteration = None
    if iterate:
        from mixing_buddy.advising.iterating import iterate as listen_again

        iteration = listen_again(
            listen, max_changes=iterate, faders_db=faders_db, abstain_below=abstain_below
        )
        advice = iteration.steps[0].advice
        gains_db = dict(iteration.gains_db)
    else:
        advice = listen(faders_db)
        gains_db = add_gains(faders_db)
        if not is_abstained(advice, abstain_below):
            gains_db = add_gains(faders_db, advised_change_db(advice))
    abstained = is_abstained(advice, abstain_below)
    written = write_wanted_files(
        heard,
        song,
        advice,
        add_gains(faders_db) if abstained else gains_db,
        faders_db=faders_db,
        write=None if abstained else write,
        labels=labels,
        gains=gains,
    )
    export = None
    if apply is not None and not abstained:
        export = export_song(song, gains_db, apply, progress=not as_json)
    if html is not None:
        from mixing_buddy.advising.page import write_page

        write_page(
            song,
            advice,
            html,
            faders_db=faders_db,
            abstain_below=abstain_below,
            iteration=iteration,
        )
    if as_json:
        import json

        told = to_json(
            song,
            advice,
            faders_db=faders_db,
            abstain_below=abstain_below,
            iteration=iteration and iteration.to_dict(),
            applied=export and export.to_dict(),
            project=written,
            mode=heard_as,
        )
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print_advice(song, faders_db, advice, abstain_below=abstain_below, iteration=iteration)
        if export is not None:
            print_export(export)
        print_wanted_files(written, write=None if abstained else write, labels=labels, gains=gains)
        if html is not None:
            typer.echo(one_line(f"Page written to {html}."))
    if abstained:
        raise typer.Exit(ABSTAINED)
