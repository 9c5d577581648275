"""The command line ``mixing-buddy``: one module a command, heavy imports inside the functions."""

from __future__ import annotations

import sys

import typer

from mixing_buddy.cli.advise import advise
from mixing_buddy.cli.average import average
from mixing_buddy.cli.baselines import baselines
from mixing_buddy.cli.build import build
from mixing_buddy.cli.compare import compare
from mixing_buddy.cli.consensus import consensus
from mixing_buddy.cli.convert_encoder import convert_encoder
from mixing_buddy.cli.ending import EXIT_CODES, run_to_its_end
from mixing_buddy.cli.evaluate import evaluate
from mixing_buddy.cli.generate_songs import generate_songs
from mixing_buddy.cli.inspect import inspect
from mixing_buddy.cli.judge import judge
from mixing_buddy.cli.merge import merge
from mixing_buddy.cli.push import push
from mixing_buddy.cli.render import render
from mixing_buddy.cli.serve import serve
from mixing_buddy.cli.study import study
from mixing_buddy.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback(epilog=EXIT_CODES)
def _describe(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Gain-balance advice on a music mix, and everything that trains the model giving it.

    To get advice on a song: mixing-buddy advise STEMS_FOLDER

    To train a model: generate-songs, build, then train_sft.py, then evaluate.
    """


app.command("advise")(advise)
app.command("compare")(compare)
app.command("serve")(serve)
app.command("generate-songs")(generate_songs)
app.command("build")(build)
app.command("inspect")(inspect)
app.command("render")(render)
app.command("evaluate")(evaluate)
app.command("baselines")(baselines)
app.command("judge")(judge)
app.command("consensus")(consensus)
app.command("convert-encoder")(convert_encoder)
app.command("merge")(merge)
app.command("average")(average)
app.add_typer(study, name="study")
app.command("push")(push)


def main() -> None:
    """Run the command line; see `mixing_buddy.cli.ending` for how it ends."""
    sys.exit(run_to_its_end(lambda: app(prog_name="mixing-buddy")))
