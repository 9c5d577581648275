"""The project's experiments: one command runs a question, another writes all tables.

```bash
python benchmarks/experiments.py list
python benchmarks/experiments.py run level-features --songs songs --datasets datasets
python benchmarks/experiments.py run dpo unseen --songs songs --datasets datasets --model runs/nano
python benchmarks/experiments.py run tokens/t13 --songs songs --datasets datasets --start runs/hear
python benchmarks/experiments.py table
```

`--songs` and `--datasets` hold a folder each for `generated`, `generated-unheard` and `cc0-songs`.
What is run stands in `experiments.yaml`. A step that is done is not done again, unless its command,
its configuration or what it starts from has changed; training that was broken off goes on from its
newest checkpoint, asking where it stopped. `--dry-run` prints the commands and what they may take.
`table` leaves alone what stands in the document of an experiment that nothing was run of here.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

# Steps are run from the repository; this too, wherever it is started.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    """Run one subcommand."""
    from mixing_buddy.errors import MixingBuddyError

    arguments = _parser().parse_args()
    try:
        arguments.function(arguments)
    except MixingBuddyError as error:
        sys.exit(f"experiments.py: {error}")
    except KeyboardInterrupt:
        sys.exit("\nexperiments.py: stopped; the same command goes on from here.")


def run(arguments: argparse.Namespace) -> None:
    """Run experiments."""
    from experimenting.plan import choose, read_costs, read_plan
    from experimenting.running import estimate_s, list_jobs, run_jobs

    plan = read_plan(budget=arguments.budget, limit=arguments.limit, seeds=arguments.seeds)
    roots = {
        name: str(Path(value).resolve()) if Path(value).exists() else value
        for name in ("songs", "datasets", "hearing", "model")
        if (value := getattr(arguments, name)) is not None
    }
    out, costs = arguments.out.resolve(), read_costs()
    settings = {"budget": arguments.budget, "limit": arguments.limit}
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for experiment in choose(plan, arguments.ids):
        jobs = list_jobs(experiment, out, roots)
        print(f"{experiment.name}: {experiment.question}")
        if arguments.dry_run:
            unfinished = [job for job in jobs if not job.is_done]
            for job in jobs:
                print(f"{'done ' if job.is_done else 'to do'} {job.place}")
                print(f"      {shlex.join(job.step.argv)}")
            print(f"about {estimate_s(unfinished, out, costs) / 60:.0f} minutes")
            continue
        for line in run_jobs(jobs, out, costs, settings):
            print(line, flush=True)


def table(arguments: argparse.Namespace) -> None:
    """Write tables."""
    from experimenting.tables import write_tables

    known = write_tables(arguments.out, arguments.docs, only=arguments.ids)
    print(f"{arguments.docs}: tables of {', '.join(known) or 'nothing yet'}")


def show_list(arguments: argparse.Namespace) -> None:
    """Print what there is."""
    from experimenting.plan import read_plan

    for name, experiment in read_plan().items():
        needs = {"hearing": "--start", "model": "--model"}
        options = "".join(f", needs {needs[each]}" for each in experiment.needs)
        print(f"{name}: {experiment.question}\n    {len(experiment.arms)} arms, seeds ", end="")
        print(f"{', '.join(map(str, experiment.seeds))}{options}")


def make_start(arguments: argparse.Namespace) -> None:
    """Save a model of another shape."""
    from experimenting.making import make_start, read_fields

    fields = read_fields(arguments.fields)
    make_start(arguments.out, fields, arguments.seed, arguments.like)


def make_anchors(arguments: argparse.Namespace) -> None:
    """Write rows that name an anchor, or none."""
    from experimenting.making import make_anchors

    make_anchors(arguments.dataset, arguments.out, named=arguments.named, seed=arguments.seed)


def make_planted(arguments: argparse.Namespace) -> None:
    """Ask about whole songs with a fader moved."""
    from experimenting.planting import ask_planted

    ask_planted(arguments.songs, arguments.model, arguments.count, arguments.gain_db, arguments.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    here = Path(__file__).resolve().parents[1]

    one = commands.add_parser("list", help="what there is to run")
    one.set_defaults(function=show_list)

    one = commands.add_parser("run", help="run experiments, or go on with them")
    one.add_argument(
        "ids", nargs="+", metavar="ID", help="which; all for all of them; ID/ARM for one arm"
    )
    one.add_argument("--songs", required=True, help="folder of the song folders")
    one.add_argument("--datasets", required=True, help="folder of the datasets")
    one.add_argument(
        "--start", dest="hearing", help="model that hears, from configs/nano_hearing.yaml"
    )
    one.add_argument("--model", help="finished model, for those that train none")
    one.add_argument("--out", type=Path, default=here / "runs/experiments", help="folder of runs")
    one.add_argument("--budget", type=float, default=1.0, help="multiplies the training steps")
    one.add_argument("--limit", type=int, help="rows asked in each report, or songs")
    one.add_argument("--seeds", type=int, nargs="+", help="run these seeds only")
    one.add_argument("--dry-run", action="store_true", help="print the commands and stop")
    one.set_defaults(function=run)

    one = commands.add_parser("table", help="write what was found into docs/experiments.md")
    one.add_argument("ids", nargs="*", metavar="ID", help="which; all that were run by default")
    one.add_argument("--out", type=Path, default=here / "runs/experiments", help="folder of runs")
    one.add_argument("--docs", type=Path, default=here / "docs/experiments.md", help="document")
    one.set_defaults(function=table)

    one = commands.add_parser("make-start", help="a step: save a model of another shape")
    one.add_argument("--like", required=True, metavar="MODEL", help="whose other weights it has")
    one.add_argument("--fields", nargs="+", required=True, metavar="NAME=JSON")
    one.add_argument("--seed", type=int, required=True)
    one.add_argument("--out", type=Path, required=True)
    one.set_defaults(function=make_start)

    one = commands.add_parser("make-anchors", help="a step: rows with an anchor named or not")
    one.add_argument("dataset")
    one.add_argument("--named", action=argparse.BooleanOptionalAction, required=True)
    one.add_argument("--seed", type=int, required=True)
    one.add_argument("--out", type=Path, required=True)
    one.set_defaults(function=make_anchors)

    one = commands.add_parser("make-planted", help="a step: whole songs with a fader moved")
    one.add_argument("songs", type=Path)
    one.add_argument("--model", required=True)
    one.add_argument("--count", type=int, required=True)
    one.add_argument("--gain-db", type=float, default=4.5)
    one.add_argument("--out", type=Path, required=True)
    one.set_defaults(function=make_planted)
    return parser


if __name__ == "__main__":
    main()
