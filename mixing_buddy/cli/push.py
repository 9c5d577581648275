"""``mixing-buddy push``: publish dataset, model, adapter, Space and metric on the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mixing_buddy.publishing.plan import RepositoryPlan


def push(
    what: Annotated[
        str,
        typer.Option(metavar="dataset|model|adapter|space|metric|all", help="What to publish."),
    ],
    namespace: Annotated[
        str, typer.Option(help="User or organisation to publish as.", show_default=False)
    ],
    dataset: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder that `mixing-buddy build` wrote; once for each dataset.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Folder of a saved model; nano by default.")
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option(help="Folder of a saved adapter.", show_default=False)
    ] = None,
    report: Annotated[
        list[Path] | None,
        typer.Option(
            help="Report of `mixing-buddy evaluate --out` whose figures go into the card of the "
            "model (or of the adapter, with --what adapter); once for each.",
            show_default=False,
        ),
    ] = None,
    private: Annotated[
        bool,
        typer.Option("--private", help="Leave the repositories private; without it they are shown"),
    ] = False,
    tag: Annotated[
        str | None,
        typer.Option(help="Name of this version, such as v0.1.0.", show_default=False),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would be published; the network is not used."),
    ] = False,
) -> None:
    """Publish on the Hugging Face Hub.

    Each repository becomes what --dry-run shows: its files, and a card made from them. Nothing is
    sent where a check fails (licences, card, weights, secrets), and nothing is committed where
    nothing changed. New repositories are shown when all of them are complete. The token comes from
    `hf auth login` or HF_TOKEN.

    Example: mixing-buddy push --what all --namespace NAME --dataset datasets/generated --dry-run
    """
    plans = _plans(what, namespace, dataset or [], model, adapter, report or [])
    if dry_run:
        for plan in plans:
            _print_plan(plan)
    from mixing_buddy.publishing.release import publish_all, refuse_unfit

    refuse_unfit(plans)
    if dry_run:
        return
    from huggingface_hub import HfApi

    done = publish_all(
        HfApi(),
        plans,
        private=private,
        tag=tag,
        on_done=lambda published: typer.echo(_describe(published), err=True),
    )
    for published in done:
        seen = "private" if published.is_private else "public"
        typer.echo(f"{published.url} ({seen}, commit {published.commit[:8]})")


def _plans(
    what: str,
    namespace: str,
    datasets: Sequence[Path],
    model: Path | None,
    adapter: Path | None,
    reports: Sequence[Path],
) -> list[RepositoryPlan]:
    from importlib.resources import files

    from mixing_buddy.errors import PublishingError
    from mixing_buddy.publishing import plan as planning

    if what not in (*planning.KINDS, "all"):
        raise PublishingError(f"--what {what}: choose one of {', '.join(planning.KINDS)}, or all.")
    if what in ("dataset", "all") and not datasets:
        raise PublishingError(f"--what {what} needs --dataset FOLDER, at least once.")
    if what == "adapter" and adapter is None:
        raise PublishingError("--what adapter needs --adapter FOLDER.")
    if reports and what not in ("model", "adapter", "all"):
        raise PublishingError(f"--report goes into a model's card, and --what {what} has none.")
    nano = Path(str(files("mixing_buddy") / "checkpoints" / "nano"))
    makers = {
        "dataset": lambda: [planning.plan_dataset(folder, namespace) for folder in datasets],
        "metric": lambda: [
            planning.plan_metric(planning.repository_folder("metrics/gain_advice"), namespace)
        ],
        "model": lambda: [planning.plan_model(model or nano, namespace, reports)],
        "adapter": lambda: [
            planning.plan_model(
                adapter, namespace, reports if what == "adapter" else (), adapter=True
            )
        ],
        "space": lambda: [planning.plan_space(planning.repository_folder("space"), namespace)],
    }
    kinds = [kind for kind in planning.KINDS if what in (kind, "all")]
    if what == "all" and adapter is None:
        kinds.remove("adapter")
    return [plan for kind in kinds for plan in makers[kind]()]


def _print_plan(plan: RepositoryPlan) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False)
    table = Table(title=f"{plan.kind}: {plan.repo_id}", title_justify="left")
    table.add_column("file", overflow="fold")
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("SHA-256", no_wrap=True)
    for file in plan.files:
        table.add_row(file.path, f"{file.size_bytes:,}", file.sha256[:16])
    table.add_section()
    table.add_row(f"{len(plan.files)} files", f"{plan.size_bytes:,}", "")
    console.print(table)
    for finding in plan.findings:
        word = "ok" if finding.passed else "REFUSED"
        console.print(f"{word}: {finding.text}", markup=False)
    if plan.left_out:
        console.print(f"Left out: {', '.join(plan.left_out)}", markup=False)
    console.print(f"\nREADME.md of {plan.repo_id}:\n", markup=False)
    # Not wrapped: it is what will be sent.
    typer.echo(plan.card)


def _describe(published) -> str:
    plan = published.plan
    if not published.num_written and not published.removed:
        return f"{plan.repo_id}: nothing had changed."
    removed = f", removed {', '.join(published.removed)}" if published.removed else ""
    return f"{plan.repo_id}: wrote {published.num_written} files{removed}."
