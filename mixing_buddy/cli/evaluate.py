"""``mixing-buddy evaluate``: how often a model is right on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixing_buddy.cli.options import Device, Dtype, Quantization, SongFolders


def evaluate(
    dataset: Annotated[
        str,
        typer.Argument(
            help="Folder that `mixing-buddy build` wrote, or a Hub id.", show_default=False
        ),
    ],
    songs: SongFolders,
    model: Annotated[
        str | None,
        typer.Option(help="Folder or Hub id; nano by default.", show_default=False),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Commit of the Hub id.", show_default=False)
    ] = None,
    mode: Annotated[
        str,
        typer.Option(metavar="single_mix|stems|differential", help="Config of the dataset."),
    ] = "single_mix",
    split: Annotated[str, typer.Option(help="Split to take rows from.")] = "test",
    prompt_category: Annotated[
        str | None,
        typer.Option(
            metavar="advice_seeking|audio_only|correct_description|incorrect_description",
            help="Take only rows whose prompts are of this kind.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="How many rows, spread over the split; all by default."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows heard at a time.")] = 32,
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantization: Quantization = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for answers, report.json, report.md and report.html; a run that was "
            "broken off goes on there.",
            show_default=False,
        ),
    ] = None,
    rank: Annotated[
        bool,
        typer.Option(
            "--rank", help="Ask as well how likely each piece of advice is; gives calibration."
        ),
    ] = False,
    flavour: Annotated[
        str,
        typer.Option(metavar="ours|published", help="Grade by the published rules as well."),
    ] = "ours",
    text_metrics: Annotated[
        bool,
        typer.Option(
            "--text-metrics",
            help="Say as well how near the wording comes to references: BLEU, ROUGE-L, METEOR.",
        ),
    ] = False,
    bert_score_model: Annotated[
        str | None,
        typer.Option(help="Folder or Hub id; adds BERTScore by it.", show_default=False),
    ] = None,
    similarity_model: Annotated[
        str | None,
        typer.Option(
            help="Folder or Hub id of a sentence-transformers model; adds the similarity of "
            "embeddings by it.",
            show_default=False,
        ),
    ] = None,
    baselines: Annotated[
        bool, typer.Option(help="Set baselines and the ceiling beside the model.")
    ] = True,
    train_dataset: Annotated[
        str | None,
        typer.Option(
            help="Dataset that baselines learn from; the same by default.", show_default=False
        ),
    ] = None,
    train_songs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FOLDER",
            help="Folder of songs that baselines learn from; the same by default.",
            show_default=False,
        ),
    ] = None,
    train_limit: Annotated[
        int | None,
        typer.Option(min=1, help="How many rows baselines learn from; all by default."),
    ] = None,
    seed: Annotated[int, typer.Option(help="What the intervals are drawn from.")] = 0,
) -> None:
    """Ask a model about every row of a dataset and grade its answers.

    Answers are generated greedily and read back as text, as a user would read them. A row counts
    as right (joint) where stem and direction are; a balanced mix only where the answer says that
    nothing is to be changed. With --out, the same command goes on where a run was broken off, and
    --text-metrics can be added to a run that is finished.

    Example: mixing-buddy evaluate datasets/generated --songs songs --limit 3000 --out reports/nano
    """
    import shlex
    import sys

    from mixing_buddy.cli.options import load_buddy
    from mixing_buddy.errors import MixingBuddyError
    from mixing_buddy.evaluation.answering import answer_rows
    from mixing_buddy.evaluation.comparing import ask_baselines
    from mixing_buddy.evaluation.reports import build_report, describe_run, write_report
    from mixing_buddy.evaluation.text_report import TextSettings

    if flavour not in ("ours", "published"):
        raise MixingBuddyError(f"--flavour {flavour}: choose ours or published.")
    if flavour == "published" and mode == "differential":
        raise MixingBuddyError("The published rules know no differential: leave --flavour out.")
    texts = TextSettings(bert_score_model, similarity_model) if text_metrics else None
    if texts is not None:
        texts.check()
    elif bert_score_model or similarity_model:
        raise MixingBuddyError(
            "--bert-score-model and --similarity-model need --text-metrics: add it."
        )
    settings = {
        "config": mode,
        "split": split,
        "prompt_category": prompt_category,
        "limit": limit,
    }
    run = describe_run(model, dataset, revision=revision, **settings)
    precision = {"dtype": dtype, "quantization": quantization}
    answered = answer_rows(
        lambda: load_buddy(
            model, revision, batch_size, device=device, dtype=dtype, quantization=quantization
        ),
        dataset,
        songs,
        **settings,
        rank=rank,
        out=out,
        settings={
            **{name: run[name] for name in ("model", "weights", "dataset", *settings)},
            **precision,
        },
    )
    beside = None
    if baselines:
        beside = ask_baselines(
            answered.rows,
            mode,
            dataset,
            songs,
            train_dataset=train_dataset,
            train_songs=train_songs,
            train_limit=train_limit,
        )
    run |= {
        "command": shlex.join(["mixing-buddy", *sys.argv[1:]]),
        "seed": seed,
        "batch_size": batch_size,
        **precision,
        "decoding": "greedy",
        "asking_duration_s": round(answered.duration_s, 1),
        "num_resumed": answered.num_resumed,
    }
    report = build_report(
        answered, run, flavour=flavour, beside=beside, text_settings=texts, seed=seed
    )
    written = write_report(out, answered, report) if out is not None else []
    _print_report(report)
    for path in written:
        typer.echo(f"Written: {path}")


def _print_report(report: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    from mixing_buddy.evaluation.report_page import headline, systems_table

    console = Console(markup=False, emoji=False)
    systems = systems_table(report, is_brief=True)
    table = Table()
    for place, name in enumerate(systems.header):
        table.add_column(name, justify="right" if place else "left", no_wrap=place < 2)
    for row in systems.rows:
        table.add_row(*row)
    console.print(table)
    for category, shares in report["by"].get("category", {}).items():
        console.print(f"joint, {category}: {100 * shares['joint']:.1f} %")
    for text in [*report["notes"], *headline(report)]:
        console.print(text)
    if "published" in report:
        shares = {n: v for n, v in report["published"].items() if v is not None}
        told = ", ".join(f"{name} {100 * value:.1f} %" for name, value in shares.items())
        console.print(f"By the published rules: {told}.")
