"""From `experiments.yaml` to command lines: what each arm of each experiment runs, in order.

Command lines are templates. `{songs}`, `{datasets}`, `{hearing}` and `{model}` are what the user
names, `{made}` is the folder in which an arm trains with one seed, `{asked}` that of its reports.
So a command line stays the same where folders are moved.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from mixing_buddy.errors import MixingBuddyError

PLAN = Path(__file__).resolve().parents[1] / "experiments.yaml"

#: Name of a report's step is this and the report's name.
REPORT = "report-"


@dataclass(frozen=True)
class Step:
    """One command of an arm.

    Args:
        name: unique in its arm; its output lies in a folder of this name.
        kind: what its cost is reckoned by: "hearing", "sft", "dpo", "evaluate" and so on.
        argv: template of the command line, "python" or "mixing-buddy" first.
        units: how many steps it trains, or rows it asks.
    """

    name: str
    kind: str
    argv: tuple[str, ...]
    units: int

    @property
    def is_training(self) -> bool:
        """Whether it can go on from a checkpoint."""
        return self.argv[1].startswith("train_")

    @property
    def is_report(self) -> bool:
        """Whether it asks a model, and leaves answers."""
        return self.name.startswith(REPORT)


@dataclass(frozen=True)
class Arm:
    """One answer that is tried.

    Args:
        name: its name in commands.
        title: its name in tables.
        made: where it trains, below the folder of runs and without the seed; another arm's folder
            where both are asked the same model.
        asked: where its reports lie, likewise.
        read: how its answers are read off a report: "greedy", "ranked", "question", "window" or
            "song".
        reports: names of its reports, by the table that each belongs to.
        steps: by seed, in order; of the first seed alone where nothing is trained.
        rows: for each report what is asked, as JSON: equal ones have equal rows.
    """

    name: str
    title: str
    made: str
    asked: str
    read: str
    reports: tuple[str, ...]
    steps: Mapping[int, tuple[Step, ...]]
    rows: Mapping[str, str]


@dataclass(frozen=True)
class Experiment:
    """One question.

    Args:
        name: its id.
        question: in words.
        baseline: name of the arm that others are compared with.
        arms: in order.
        seeds: that it is run with.
        note: what has to be known to read its table.
    """

    name: str
    question: str
    baseline: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    note: str = ""
    tables: Mapping[str, str] = field(default_factory=dict)

    @property
    def needs(self) -> tuple[str, ...]:
        """Which of "hearing" and "model" its commands name."""
        words = {
            word
            for arm in self.arms
            for steps in arm.steps.values()
            for step in steps
            for word in step.argv
        }
        return tuple(name for name in ("hearing", "model") if f"{{{name}}}" in words)


def read_plan(
    path: Path = PLAN,
    *,
    budget: float = 1.0,
    limit: int | None = None,
    seeds: Sequence[int] | None = None,
) -> dict[str, Experiment]:
    """Read all experiments.

    Args:
        path: the YAML file.
        budget: training steps are multiplied by this; one step at least is left.
        limit: how many rows are asked in each report (and songs, where whole songs are); by
            default as the file says.
        seeds: run these instead of the file's.

    Raises:
        MixingBuddyError: an arm or a baseline is named that is not there.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    shared = {**content["defaults"], "training": content["training"]}
    return {
        name: _Reader(name, entry, content["experiments"], shared, budget, limit, seeds).read()
        for name, entry in content["experiments"].items()
    }


def choose(plan: Mapping[str, Experiment], ids: Sequence[str]) -> list[Experiment]:
    """Find experiments by their ids.

    Args:
        plan: what `read_plan` returned.
        ids: "all", names of experiments, or `EXPERIMENT/ARM` for one with that arm alone.

    Raises:
        MixingBuddyError: there is no experiment or no arm of a name.
    """
    chosen = []
    for word in plan if list(ids) == ["all"] else ids:
        name, _, arm_name = word.partition("/")
        if name not in plan:
            raise MixingBuddyError(f"There is no {name}: choose from {', '.join(plan)}.")
        experiment = plan[name]
        if arm_name:
            arms = tuple(arm for arm in experiment.arms if arm.name == arm_name)
            if not arms:
                known = ", ".join(arm.name for arm in experiment.arms)
                raise MixingBuddyError(f"{name} has no arm {arm_name}: choose from {known}.")
            experiment = replace(experiment, arms=arms)
        chosen.append(experiment)
    return chosen


def read_costs(path: Path = PLAN) -> dict[str, float]:
    """Read what a unit of each kind of step costs, in seconds, where nothing was measured."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))["seconds_per_unit"]


@dataclass
class _Reader:
    name: str
    entry: Mapping[str, Any]
    experiments: Mapping[str, Any]
    shared: Mapping[str, Any]
    budget: float
    limit: int | None
    only_seeds: Sequence[int] | None

    def read(self) -> Experiment:
        seeds = tuple(self.only_seeds or self.entry.get("seeds", [0]))
        # Baselines depend on rows alone: asked once for each set of rows.
        self.rows_of_baselines: set[str] = set()
        arms = tuple(
            self._arm(arm, entry or {}, seeds) for arm, entry in self.entry["arms"].items()
        )
        baseline = self.entry["baseline"]
        if baseline not in [arm.name for arm in arms]:
            raise MixingBuddyError(f"{self.name}: there is no arm {baseline!r} to compare with.")
        return Experiment(
            self.name,
            self.entry["question"],
            baseline,
            arms,
            seeds,
            self.entry.get("note", "").strip(),
            self.entry.get("tables", {}),
        )

    def _arm(self, name: str, entry: Mapping[str, Any], seeds: Sequence[int]) -> Arm:
        made = asked = f"{self.name}/{name}"
        if "same_model_as" in entry:
            made = entry["same_model_as"]
            entry = {**self._other(name, made), **entry}
        if "same_reports_as" in entry:
            made = asked = f"{self.name}/{entry['same_reports_as']}"
            entry = {**self._other(name, asked), **entry}
        reports = entry["reports"]
        rows = {report: self._rows(fields or {}) for report, fields in reports.items()}
        new = [report for report in reports if rows[report] not in self.rows_of_baselines]
        self.rows_of_baselines |= set(rows.values())
        # Of the file's seeds, so that it doesn't depend on those that are run.
        first = self.entry.get("seeds", [0])[0]
        # A model that is not trained here answers the same whatever the seed.
        steps = {
            seed: tuple(self._steps(entry, seed, with_baselines=new if seed == first else ()))
            for seed in (seeds if entry.get("steps") else [first])
        }
        return Arm(
            name,
            entry.get("title", name),
            made,
            asked,
            entry.get("read", "greedy"),
            tuple(reports),
            steps,
            rows,
        )

    def _other(self, name: str, other: str) -> Mapping[str, Any]:
        experiment, _, arm = other.partition("/")
        try:
            return self.experiments[experiment]["arms"][arm]
        except KeyError as error:
            raise MixingBuddyError(f"{self.name}, {name}: there is no arm {other}.") from error

    def _steps(
        self, entry: Mapping[str, Any], seed: int, with_baselines: Sequence[str]
    ) -> Iterator[Step]:
        before = entry.get("start")
        for place, fields in enumerate(entry.get("steps", [])):
            kind = fields.get("train") or fields["make"]
            step_name = f"{place + 1}-{fields.get('name', kind)}"
            out = f"{{made}}/{step_name}"
            if "make" in fields:
                argv = ["python", "benchmarks/experiments.py", f"make-{kind}", *fields["words"]]
                yield Step(step_name, kind, (*argv, "--seed", str(seed), "--out", out), 1)
                if fields.get("is_model", False):
                    before = out
                continue
            recipe = self.shared["training"][kind]
            settings = {**recipe.get("set", {}), **fields.get("set", {})}
            settings["max_steps"] = max(1, round(settings["max_steps"] * self.budget))
            settings["warmup_steps"] = min(settings["warmup_steps"], settings["max_steps"] // 5)
            argv = ["python", recipe["script"], "--config", recipe["config"]]
            settings = {
                "model_name_or_path": before,
                "output_dir": out,
                "seed": seed,
                **settings,
            }
            yield Step(step_name, kind, (*argv, *_flags(settings)), settings["max_steps"])
            before = out
        for report, fields in entry["reports"].items():
            yield self._report(report, fields or {}, before, seed, report in with_baselines)

    def _rows(self, fields: Mapping[str, Any]) -> str:
        """What decides which rows a report is about."""
        names = ("make", "dataset", "mode", "prompt_category", "limit")
        fields = self._fields(fields)
        return json.dumps({name: fields.get(name) for name in names})

    def _fields(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        fields = {**self.shared["report"], **fields}
        if self.limit is not None:
            fields["limit"] = self.limit
        return fields

    def _report(
        self, name: str, fields: Mapping[str, Any], model: str, seed: int, with_baselines: bool
    ) -> Step:
        fields = self._fields(fields)
        limit, out = fields["limit"], f"{{asked}}/{REPORT}{name}"
        if fields.get("make") == "planted":
            argv = ["python", "benchmarks/experiments.py", "make-planted", fields["songs"]]
            argv += ["--model", model, "--count", str(limit), "--out", out]
            return Step(REPORT + name, "planted", tuple(argv), limit)
        argv = ["mixing-buddy", "evaluate", fields["dataset"], "--songs", fields["songs"]]
        argv += ["--model", model, "--mode", fields["mode"], "--split", "test"]
        argv += ["--limit", str(limit), "--seed", str(seed), "--out", out]
        if "prompt_category" in fields:
            argv += ["--prompt-category", fields["prompt_category"]]
        if fields.get("rank"):
            argv.append("--rank")
        if with_baselines:
            argv += ["--train-limit", str(fields["train_limit"])]
            argv += ["--train-dataset", fields.get("train_dataset", fields["dataset"])]
            argv += ["--train-songs", fields.get("train_songs", fields["songs"])]
        else:
            argv.append("--no-baselines")
        return Step(REPORT + name, "rank" if fields.get("rank") else "evaluate", tuple(argv), limit)


def _flags(settings: Mapping[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        yield f"--{name}"
        for each in value if isinstance(value, list) else [value]:
            yield str(each).lower() if isinstance(each, bool) else str(each)
