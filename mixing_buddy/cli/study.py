"""``mixing-buddy study``: make, run, annotate and analyse a listening study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixing_buddy.cli.options import SongFolders

study = typer.Typer(
    no_args_is_help=True, help="A listening study: people rate answers to mixes that they hear."
)

_Folder = Annotated[
    Path, typer.Argument(help="Folder that `mixing-buddy study make` wrote.", show_default=False)
]
_Host = Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in.")]
_Port = Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")]


@study.command("make")
def make(
    answers: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]FILE...",
            help="answers.jsonl of each system, as `mixing-buddy evaluate --out` wrote them.",
            show_default=False,
        ),
    ],
    dataset: Annotated[
        str, typer.Option(help="Dataset that was answered: folder or Hub id.", show_default=False)
    ],
    songs: SongFolders,
    out: Annotated[Path, typer.Option(help="Folder of the study.", show_default=False)],
    count: Annotated[int, typer.Option(min=1, help="How many items.")] = 40,
    per_participant: Annotated[
        int | None,
        typer.Option(min=1, help="How many items each participant rates; all by default."),
    ] = None,
    abx_trials: Annotated[
        int, typer.Option(min=1, help="Listening trials at each of two differences in level.")
    ] = 8,
    mode: Annotated[
        str, typer.Option(metavar="single_mix|stems|differential", help="Config of the dataset.")
    ] = "single_mix",
    split: Annotated[str, typer.Option(help="Split of it.")] = "test",
    seed: Annotated[int, typer.Option(help="What items are drawn from.")] = 0,
) -> None:
    """Pick items evenly over flaw categories and write their sounds, all equally loud.

    Then fill in `contact` in consent.yaml and run the study.

    Example: mixing-buddy study make nano=runs/nano/answers.jsonl big=runs/big/answers.jsonl
    --dataset datasets/musdb --songs songs/musdb18hq --count 40 --out study
    """
    from mixing_buddy.study.items import make_study

    made = make_study(
        answers,
        dataset=dataset,
        songs=songs,
        count=count,
        out=out,
        mode=mode,
        split=split,
        items_per_participant=per_participant,
        abx_trials=abx_trials,
        seed=seed,
    )
    typer.echo(
        f"{len(made.items)} items with {len(made.systems)} answers each and {len(made.abx_pairs)} "
        f"listening trials, at {made.loudness_lufs:.1f} LUFS, written to {out}. Now fill in "
        f"`contact` in {out / 'consent.yaml'}."
    )


@study.command("run")
def run(folder: _Folder, host: _Host = "127.0.0.1", port: _Port = 7860) -> None:
    """Ask raters, in a browser: consent, listening check, ratings.

    Answers go to answers.sqlite in the study's folder, each at once. Stop it and start it again as
    you like: participants come back with their codes.

    Example: mixing-buddy study run study --host 0.0.0.0
    """
    from mixing_buddy.study.material import read_study
    from mixing_buddy.study.server import serve
    from mixing_buddy.study.store import RATER

    serve(read_study(folder), RATER, host=host, port=port)


@study.command("annotate")
def annotate(folder: _Folder, host: _Host = "127.0.0.1", port: _Port = 7861) -> None:
    """Code the answers, in a browser, by two annotators who don't see whose they are.

    Example: mixing-buddy study annotate study
    """
    from mixing_buddy.study.material import read_study
    from mixing_buddy.study.server import serve
    from mixing_buddy.study.store import ANNOTATOR

    serve(read_study(folder), ANNOTATOR, host=host, port=port)


@study.command("analyse")
def analyse(
    folder: _Folder,
    judge: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder that `mixing-buddy judge --out` wrote, to compare with people; several "
            "times for several.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the report; report/ in the study's by default."),
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples.")] = 2000,
    seed: Annotated[int, typer.Option(help="What they are drawn from.")] = 0,
) -> None:
    """Evaluate the answers: report.md, report.html, figures.json, plots and CSV files.

    Example: mixing-buddy study analyse study --judge runs/judge
    """
    from mixing_buddy.study.material import read_study
    from mixing_buddy.study.report import write_report

    out = out or folder / "report"
    write_report(read_study(folder), out, judges=judge or [], num_resamples=resamples, seed=seed)
    typer.echo(f"Written to {out}: open {out / 'report.html'}.")
