"""The tables of `docs/experiments.md`, made from what was run and from nothing else."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experimenting.measuring import (
    JOINT,
    Answers,
    Measure,
    baseline_values,
    difference_interval,
    pool,
    read_answers,
)
from experimenting.plan import PLAN, REPORT, Arm, Experiment, Step, read_plan
from experimenting.running import read_record
from mixing_buddy.errors import MixingBuddyError

#: Baselines that stand beside, with the names of their columns.
_BESIDE = {
    "text": "text alone",
    "constant: no change": "always no change",
    "ceiling": "ceiling",
}


@dataclass(frozen=True)
class Found:
    """What was run of one arm, for one table.

    Args:
        arm: the arm.
        seeds: those that were run to the end.
        answers: for each of them.
    """

    arm: Arm
    seeds: Sequence[int]
    answers: Sequence[Answers]

    def values(self, measure: Measure) -> list[float]:
        """The measure for each seed."""
        return [each.value(measure) for each in self.answers]


def write_tables(
    out: Path, docs: Path, plan_path: Path = PLAN, only: Sequence[str] = ()
) -> list[str]:
    """Put the tables of experiments between their markers in a document.

    Experiments are run on more than one machine: what stands in the document of one that nothing
    was run of here is left as it is, unless that experiment is asked for by its name.

    Args:
        out: folder of all runs.
        docs: the document; it has a line `<!-- table: ID -->` and a line `<!-- end: ID -->` for
            each experiment.
        plan_path: the YAML file.
        only: ids of the experiments to write; by default all.

    Returns:
        Ids of the experiments of which something was run, among those to write.

    Raises:
        MixingBuddyError: the document lacks an experiment's markers, or there is no experiment of
            a name.
    """
    plan = read_plan(plan_path)
    if unknown := [name for name in only if name not in plan]:
        raise MixingBuddyError(f"There is no {', '.join(unknown)}: choose from {', '.join(plan)}.")
    text = docs.read_text(encoding="utf-8")
    known = []
    for experiment in plan.values():
        start, end = f"<!-- table: {experiment.name} -->", f"<!-- end: {experiment.name} -->"
        pattern = re.compile(f"{re.escape(start)}\n(.*?){re.escape(end)}", re.DOTALL)
        place = pattern.search(text)
        if not place:
            raise MixingBuddyError(
                f"{docs} has no place for {experiment.name}: write {start} and {end} on lines of "
                "their own."
            )
        if only and experiment.name not in only:
            continue
        section, was_run = make_section(experiment, out, plan_path)
        if not was_run and not only and place[1].strip():
            continue
        text = pattern.sub(lambda _, s=section, a=start, b=end: f"{a}\n{s}\n{b}", text)
        known += [experiment.name] * was_run
    docs.write_text(text, encoding="utf-8")
    return known


def make_section(experiment: Experiment, out: Path, plan_path: Path = PLAN) -> tuple[str, bool]:
    """Write everything that stands between an experiment's markers.

    Returns:
        Markdown, and whether anything was run.
    """
    command = run_command(experiment)
    parts = [f"```bash\n{command}\n```"]
    plans: dict[tuple, dict[str, Experiment]] = {}
    settings: set[tuple] = set()
    tables = []
    for report in dict.fromkeys(name for arm in experiment.arms for name in arm.reports):
        rows = []
        for arm in experiment.arms:
            if report in arm.reports:
                found, used = _find(experiment, arm, report, out, plan_path, plans)
                rows.append(found)
                settings |= used
        if any(row.answers for row in rows):
            tables.append(_table(experiment, report, rows, out))
    if not tables:
        return "\n\n".join(["Not run yet. The command:", *parts]), False
    if len(settings) > 1:
        kinds = sorted(f"budget {b:g}, limit {n or 'as planned'}" for b, n in settings)
        what = "; ".join(kinds)
        parts.append(f"Arms were run with different settings ({what}): don't compare them.")
    else:
        budget, limit = next(iter(settings))
        if budget != 1.0:
            parts.append(f"Run with {budget:g} times the plan's training steps.")
        if limit is not None:
            parts.append(f"Run with {limit} rows or songs a report.")
    return "\n\n".join([*parts, *tables]), True


def run_command(experiment: Experiment) -> str:
    """The one command that runs an experiment."""
    words = [f"python benchmarks/experiments.py run {experiment.name}", "--songs songs"]
    words.append("--datasets datasets")
    options = {"hearing": "--start runs/nano-hearing", "model": "--model runs/nano"}
    return " ".join([*words, *(options[name] for name in experiment.needs)])


def _find(
    experiment: Experiment,
    arm: Arm,
    report: str,
    out: Path,
    plan_path: Path,
    plans: dict[tuple, dict[str, Experiment]],
) -> tuple[Found, set[tuple]]:
    """Find the seeds of which the report was made as the plan says today."""
    seeds, answers, settings = [], [], set()
    for folder in sorted((out / arm.asked).glob("seed-*"), key=lambda path: int(path.name[5:])):
        seed = int(folder.name.removeprefix("seed-"))
        record = read_record(folder / f"{REPORT}{report}.json")
        if "key" not in record:
            continue
        used = (record["budget"], record["limit"])
        made = plans.setdefault(
            (*used, seed),
            read_plan(plan_path, budget=used[0], limit=used[1], seeds=[seed]),
        )[experiment.name]
        owner = next(each for each in made.arms if each.asked == arm.asked)
        wanted = next(s for s in owner.steps[seed] if s.name == REPORT + report)
        chain = [step for step in owner.steps[seed] if not step.is_report]
        records = [read_record(out / arm.made / folder.name / f"{s.name}.json") for s in chain]
        if not _is_whole([*chain, wanted], [*records, record]):
            continue
        seeds.append(seed)
        answers.append(read_answers(folder / (REPORT + report), arm.read))
        settings.add(used)
    return Found(arm, seeds, answers), settings


def _is_whole(steps: Sequence[Step], records: Sequence[Mapping]) -> bool:
    """Whether records are of these steps, and each of what the one before it left."""
    before = ""
    for step, record in zip(steps, records, strict=True):
        if record.get("argv") != list(step.argv) or record.get("before") != before:
            return False
        before = record.get("key")
    return before is not None


def _table(experiment: Experiment, report: str, rows: Sequence[Found], out: Path) -> str:
    baseline = next((row for row in rows if row.arm.name == experiment.baseline), rows[0])
    measures = list(next(row for row in rows if row.answers).answers[0].columns)
    main = measures[0]
    compared = [each for each in measures if each is main or each.unit != main.unit]
    beside = {row.arm.name: _beside(row, rows, report, out) for row in rows}
    names = [name for name in _BESIDE if any(name in values for values in beside.values())]
    header = [report, "seeds", *(f"{each.name}, {each.unit}" for each in measures)]
    header += [f"{each.name}, against {baseline.arm.title}" for each in compared]
    header += [f"{main.name}, {_BESIDE[name]}" for name in names]
    lines = []
    for row in rows:
        if not row.answers:
            lines.append([row.arm.title, "not run yet", *[""] * (len(header) - 2)])
            continue
        cells = [row.arm.title, ", ".join(map(str, row.seeds))]
        cells += [_cell(row, measure) for measure in measures]
        for measure in compared:
            is_itself = row is baseline or not baseline.answers
            cells.append("" if is_itself else _difference(row, baseline, measure))
        cells += [_number(beside[row.arm.name].get(name), main) for name in names]
        lines.append(cells)
    counts = {
        f"{len(row.answers[0].songs)} rows of {len(set(row.answers[0].songs))} songs"
        for row in rows
        if row.answers
    }
    title = experiment.tables.get(report, f"Asked: {report}")
    parts = [f"{title} ({'; '.join(sorted(counts))}):"]
    parts.append(_markdown(header, lines))
    parts.append(f"**Answer:** {answer(rows, baseline, compared, beside)}")
    return "\n\n".join(parts)


def answer(
    rows: Sequence[Found],
    baseline: Found,
    measures: Sequence[Measure],
    beside: Mapping[str, Mapping[str, float]],
) -> str:
    """Say in words what the figures show, and no more."""
    if not baseline.answers:
        return f"none yet: {baseline.arm.title}, which the others are compared with, was not run."
    clauses = []
    for row in rows:
        if row is not baseline and row.answers:
            clauses += [_clause(row, baseline, measure) for measure in measures]
    missing = [row.arm.title for row in rows if not row.answers]
    if missing:
        clauses.append(f"not run yet: {', '.join(missing)}")
    tried = [row for row in rows if row.answers]
    best = max(tried, key=lambda row: _mean(row.values(JOINT)))
    if ceiling := beside[best.arm.name].get("ceiling"):
        joint = _mean(best.values(JOINT))
        clauses.append(
            f"{'the highest joint is' if len(tried) > 1 else 'joint is'} {joint:.1f} % "
            f"({best.arm.title}), {100 * joint / ceiling:.0f} % of the ceiling's {ceiling:.1f} %"
        )
    text = "; ".join(clauses)
    return f"{text[:1].upper()}{text[1:]}." if text else "nothing to compare."


def _clause(row: Found, baseline: Found, measure: Measure) -> str:
    gap = _mean(row.values(measure)) - _mean(baseline.values(measure))
    ends = difference_interval(pool(row.answers), pool(baseline.answers), measure)
    unit = "points" if measure.unit == "%" else measure.unit
    names = f"{row.arm.title} and {baseline.arm.title}"
    if ends is None:
        return (
            f"{row.arm.title} is {abs(gap):.2g} {unit} {_side(gap)} {baseline.arm.title} in "
            f"{measure.name}, with no interval, as there is one song"
        )
    span = f"{ends[0]:+.1f} to {ends[1]:+.1f}" if unit == "points" else _span_db(ends)
    if ends[0] <= 0 <= ends[1]:
        return f"no difference in {measure.name} is shown between {names} ({span} {unit} spans 0)"
    before = dict(zip(baseline.seeds, baseline.values(measure), strict=True))
    # What was not trained has one seed, and stands against each of the other's.
    gaps = [
        value - before.get(seed, _mean(list(before.values())))
        for seed, value in zip(row.seeds, row.values(measure), strict=True)
    ]
    if any(each * gap <= 0 for each in gaps):
        return (
            f"no difference in {measure.name} is shown between {names}: its sign changes with the "
            f"seed (songs alone would say {span} {unit})"
        )
    size = f"{abs(gap):.1f}" if unit == "points" else f"{abs(gap):.2f}"
    said = f"{row.arm.title} is {size} {unit} {_side(gap)} {baseline.arm.title} in {measure.name}"
    return f"{said} ({span})" + (f", in each of {len(gaps)} seeds" if len(gaps) > 1 else "")


def _side(gap: float) -> str:
    return "above" if gap > 0 else "below"


def _span_db(ends: tuple[float, float]) -> str:
    return f"{ends[0]:+.2f} to {ends[1]:+.2f}"


def _cell(row: Found, measure: Measure) -> str:
    values = row.values(measure)
    if len(values) > 1:
        ends: tuple[float, float] | None = (min(values), max(values))
    else:
        ends = row.answers[0].interval(measure)
    text = _number(_mean(values), measure)
    return f"{text} ({_number(ends[0], measure)} to {_number(ends[1], measure)})" if ends else text


def _difference(row: Found, baseline: Found, measure: Measure) -> str:
    gap = _mean(row.values(measure)) - _mean(baseline.values(measure))
    ends = difference_interval(pool(row.answers), pool(baseline.answers), measure)
    digits = 1 if measure.unit == "%" else 2
    text = f"{gap:+.{digits}f}"
    return f"{text} ({ends[0]:+.{digits}f} to {ends[1]:+.{digits}f})" if ends else text


def _number(value: float | None, measure: Measure) -> str:
    if value is None or math.isnan(value):
        return ""
    return f"{value:.1f}" if measure.unit == "%" else f"{value:.2f}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _beside(row: Found, rows: Sequence[Found], report: str, out: Path) -> dict[str, float]:
    """Baselines on the rows of an arm, in %; they stand in the report of one arm with those."""
    for other in rows:
        if other.arm.rows[report] != row.arm.rows[report]:
            continue
        for seed in other.seeds:
            folder = out / other.arm.asked / f"seed-{seed}" / (REPORT + report)
            if values := baseline_values(folder):
                return values
    return {}


def _markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
