"""``mixing-buddy judge``: a language model scores and ranks answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def judge(
    answers: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]ANSWERS.jsonl...",
            help="Files that `mixing-buddy evaluate --out` wrote, one for each system.",
            show_default=False,
        ),
    ],
    dataset: Annotated[
        str,
        typer.Option(help="Dataset that was answered: a folder or Hub id.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(help="Folder for judge.md, judge.json, judgements.jsonl.", show_default=False),
    ],
    model: Annotated[
        str | None, typer.Option(help="Id of the judge, as its endpoint names it.")
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="URL of an OpenAI-compatible endpoint; without one the Hub's providers are asked."
        ),
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="Provider of the Hub; the Hub chooses by default.")
    ] = None,
    local: Annotated[
        Path | None, typer.Option(help="Folder of a transformers model to judge on this machine.")
    ] = None,
    key_variable: Annotated[
        str | None,
        typer.Option(
            help="Environment variable with the key; OPENAI_API_KEY for an endpoint, HF_TOKEN for "
            "the Hub by default.",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[str, typer.Option(help="Config of the dataset.")] = "single_mix",
    split: Annotated[str, typer.Option(help="Split that was answered.")] = "test",
    limit: Annotated[
        int | None, typer.Option(min=1, help="How many rows, evenly spread; all by default.")
    ] = None,
    scores: Annotated[bool, typer.Option(help="Score each answer by the rubric.")] = True,
    orders: Annotated[
        int,
        typer.Option(
            min=0,
            help="In how many orders to show the answers of a row for ranking: 0, 1 or an even "
            "number. Twice the number of systems cancels every position bias.",
        ),
    ] = 2,
    controls: Annotated[
        bool, typer.Option(help="Judge a right and a wrong answer as well.")
    ] = True,
    cache: Annotated[
        Path | None,
        typer.Option(help="File of replies; OUT/replies.sqlite by default.", show_default=False),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests in flight at a time.")] = 4,
    attempts: Annotated[int, typer.Option(min=1, help="Attempts where a failure may pass.")] = 4,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="Longest silence, in seconds.")] = 120.0,
    max_tokens: Annotated[int, typer.Option(min=16, help="Longest reply, in tokens.")] = 512,
    input_price: Annotated[
        float | None, typer.Option(min=0.0, help="Price of a million tokens sent.")
    ] = None,
    output_price: Annotated[
        float | None, typer.Option(min=0.0, help="Price of a million tokens received.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be asked and cost; ask nothing.")
    ] = False,
) -> None:
    """Let a language model score and rank the answers of any number of systems.

    The judge hears nothing: it is told what was done to the mix. Replies are kept in a cache, so
    that a run that broke off goes on when the same command is given again. What fails is counted,
    never guessed.

    Example: mixing-buddy judge nano=report/answers.jsonl --dataset datasets/generated
    --endpoint http://localhost:8000/v1 --model my-judge --out judged
    """
    import shlex
    import sys

    from mixing_buddy.judging import items as reading
    from mixing_buddy.judging.cache import ReplyCache
    from mixing_buddy.judging.figures import sum_up
    from mixing_buddy.judging.reports import to_markdown, write_judgement
    from mixing_buddy.judging.study import estimate, plan
    from mixing_buddy.judging.study import judge as run
    from mixing_buddy.version import __version__

    systems = reading.parse_systems(answers)
    lines = {name: reading.read_answers(path) for name, path in systems.items()}
    rows = reading.read_rows(dataset, mode, split)
    items = reading.gather(rows, lines, limit=limit, controls=controls)
    client = _client(
        model, endpoint, provider, local, key_variable, timeout_s=timeout_s, max_tokens=max_tokens
    )
    questions = plan(client, items, scores=scores, num_orders=orders)
    replies = ReplyCache(cache or out / "replies.sqlite")
    try:
        expected = estimate(
            questions,
            replies,
            max_tokens=max_tokens,
            input_price=input_price,
            output_price=output_price,
        )
        typer.echo(_describe(expected, len(items)), err=True)
        if dry_run:
            for question in _one_of_each(questions):
                typer.echo(f"\n{question.request.messages[0]['content']}")
            return
        judged, usage = run(
            client, replies, items, questions, concurrency=concurrency, attempts=attempts
        )
    finally:
        replies.close()
    report = sum_up(judged) | {
        "judge": {**client.identity, "options_left_out": client.left_out},
        "usage": usage,
        "version": __version__,
        "command": shlex.join(["mixing-buddy", *sys.argv[1:]]),
        "rows_left_out": {name: len(each) - len(items) for name, each in lines.items()},
    }
    write_judgement(out, judged, report)
    typer.echo(to_markdown(report), nl=False)


def _client(
    model: str | None,
    endpoint: str | None,
    provider: str | None,
    local: Path | None,
    key_variable: str | None,
    *,
    timeout_s: float,
    max_tokens: int,
):
    from mixing_buddy.errors import JudgingError
    from mixing_buddy.judging.http_clients import EndpointClient, HubClient
    from mixing_buddy.judging.local_client import LocalClient

    if (model is None) == (local is None):
        raise JudgingError("Give one judge: --model ID with or without --endpoint, or --local.")
    if local is not None:
        if endpoint or provider or key_variable:
            raise JudgingError("--local runs here: it takes no endpoint, provider or key.")
        return LocalClient(local, max_tokens=max_tokens)
    options = {"key_variable": key_variable, "timeout_s": timeout_s, "max_tokens": max_tokens}
    if endpoint is None:
        return HubClient(model, provider=provider, **options)
    if provider is not None:
        raise JudgingError("--provider is for the Hub: leave it out with --endpoint.")
    return EndpointClient(endpoint, model, **options)


def _describe(expected, num_rows: int) -> str:
    text = (
        f"{num_rows} rows, {expected.num_questions} questions, {expected.num_kept} of them "
        f"answered by the cache. To ask: about {expected.input_tokens} tokens in, "
        f"{expected.output_tokens} out"
    )
    if expected.cost is not None:
        text += f", {expected.cost:.2f} in all; at most {expected.highest_cost:.2f} for replies "
        text += "of full length"
    return text + "."


def _one_of_each(questions):
    """The first question with one text and the first with several."""
    seen = {}
    for question in questions:
        seen.setdefault(len(question.shown) > 1, question)
    return seen.values()
