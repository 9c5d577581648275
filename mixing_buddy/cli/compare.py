"""``mixing-buddy compare``: from my mix to a reference balance of the same song."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixing_buddy.cli.options import Device, Dtype, Quantization


def compare(
    mine: Annotated[
        Path, typer.Argument(help="My version: a folder of tracks, or a mix.", show_default=False)
    ],
    reference: Annotated[
        Path,
        typer.Argument(
            help="The version to match: a folder of tracks of the same song, or a mix.",
            show_default=False,
        ),
    ],
    anchor: Annotated[
        str | None,
        typer.Option(
            metavar="bass|drums|vocals",
            help="The stem whose level is taken as right in both. By default the median stem.",
            show_default=False,
        ),
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="FILE=STEM",
            help="Correct what a file of my version was taken for. Can be repeated.",
            show_default=False,
        ),
    ] = None,
    mapping_reference: Annotated[
        list[str] | None,
        typer.Option(
            "--map-reference",
            metavar="FILE=STEM",
            help="The same for the reference.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Folder or Hub id of a model, for mixes. By default nano.", show_default=False
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Commit of the Hub id.", show_default=False)
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows heard at a time.")] = 16,
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantization: Quantization = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Say what to move in my mix to reach the balance of a reference of the same song.

    Two folders of tracks are compared by measurement, window by window; no model is asked. Where
    one of the two is a mix alone, its stems can't be measured: then the model advises on each of
    them by itself, which is inferred and far less sure.

    Examples:

    mixing-buddy compare my-mix/stems reference/stems --anchor drums

    mixing-buddy compare my-mix.wav reference.wav --json

    Exit codes: 0 compared, 1 something about the files is wrong, 2 something about the options is.
    """
    import json

    from mixing_buddy.advising.comparing import compare_songs
    from mixing_buddy.advising.inputs import open_song
    from mixing_buddy.cli.advice_output import print_advice, print_comparison, print_tracks
    from mixing_buddy.cli.options import load_buddy

    songs = (
        open_song(mine, mapping=mapping or []),
        open_song(reference, mapping=mapping_reference or []),
    )
    if not as_json:
        for song in songs:
            print_tracks(song)
    if not any(song.is_mix for song in songs):
        comparison = compare_songs(*songs, anchor=anchor, progress=not as_json)
        if as_json:
            from mixing_buddy.advising.reporting import JSON_VERSION

            told = {"schema": "mixing-buddy/comparison", "version": JSON_VERSION}
            told |= {"source": "measured", **comparison.to_dict()}
            typer.echo(json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False))
        else:
            print_comparison(comparison)
        return
    buddy = load_buddy(
        model, revision, batch_size, device=device, dtype=dtype, quantization=quantization
    )

    from mixing_buddy.advising.reporting import JSON_VERSION, to_json

    compared = buddy.compare(*songs, anchor=anchor, progress=not as_json)
    advices = (compared.mine, compared.reference)
    pairs = list(zip(songs, advices, strict=True))
    if as_json:
        told = {"schema": "mixing-buddy/comparison", "version": JSON_VERSION, "source": "inferred"}
        told |= dict(zip(("mine", "reference"), (to_json(*pair) for pair in pairs), strict=True))
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False))
        return
    for song, advice in pairs:
        print_advice(song, {}, advice, abstain_below=0.0, iteration=None)
    typer.echo(
        "A mix does not show the levels of its stems, so each was judged by itself [inferred]. "
        "To measure what differs, give folders of stems."
    )
