"""A report for people: one HTML page, and one table in Markdown."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.evaluation import plots
from mixing_buddy.evaluation.tables import Table, as_markdown_lines, at, ends, figure, number
from mixing_buddy.evaluation.text_report import text_headline, text_notes, text_tables
from mixing_buddy.schema import DIFFERENTIAL

#: Wrong answers that the page shows.
NUM_EXAMPLES = 12

_MODEL, _RANKED = "this model", "this model, ranked"
_Path = tuple[str, ...]
_Columns = Mapping[str, tuple[_Path, str]]

_ADVICE_COLUMNS: _Columns = {
    "joint": (("joint",), "%"),
    "stem": (("stem",), "%"),
    "direction": (("direction",), "%"),
    "size": (("magnitude",), "%"),
    "balanced found": (("distinct_mixes", "no_error"), "%"),
    "precision": (("error_detection", "precision"), "%"),
    "recall": (("error_detection", "recall"), "%"),
    "F1": (("error_detection", "f1"), "%"),
}
_CHANGE_COLUMNS: _Columns = {
    "joint": (("joint",), "%"),
    "error, all stems": (("error_db",), "dB"),
    "error, stems to be moved": (("changed_error_db",), "dB"),
    "beyond consensus, all stems": (("consensus_error_db",), "dB"),
    "beyond consensus, to be moved": (("changed_consensus_error_db",), "dB"),
    "moves due": (("move_precision",), "%"),
    "due moves found": (("move_recall",), "%"),
}
_BRIEF = ("joint", "size", "balanced found", "F1", "error, all stems", "error, stems to be moved")
_GROUP_COLUMNS: _Columns = {
    "joint": (("joint",), "%"),
    "stem": (("stem",), "%"),
    "direction": (("direction",), "%"),
    "size": (("magnitude",), "%"),
}
_CHANGE_GROUP_COLUMNS: _Columns = {
    name: _CHANGE_COLUMNS[name]
    for name in ("joint", "error, all stems", "error, stems to be moved")
}

_GROUP_NAMES = {
    "num_changed": "number of stems that differ",
    "size": "largest needed change",
}


@dataclass(frozen=True)
class Picture:
    """A plot.

    Args:
        title: what it shows.
        source: PNG as a data address.
    """

    title: str
    source: str


def systems_table(report: Mapping[str, Any], *, is_brief: bool = False) -> Table:
    """Set the model beside every baseline, with 95 % intervals for the main figures.

    Args:
        report: what `build_report` returned.
        is_brief: whether to show few columns, for a terminal.
    """
    columns = _columns(report)
    if is_brief:
        columns = {name: columns[name] for name in columns if name in _BRIEF}
    header, rows = ["system"], []
    for name, (_, unit) in columns.items():
        header.append(f"{name} ({unit})")
    for name, sums in _systems(report).items():
        cells = []
        for place, (path, unit) in enumerate(columns.values()):
            is_main = place == 0 or (not is_brief and (place == 1 or unit == "dB"))
            interval = at(sums["intervals"], path) if is_main else None
            cells.append(figure(at(sums, path), interval, unit))
        rows.append([name, *cells])
    return Table("Beside baselines", header, rows)


def headline(report: Mapping[str, Any]) -> list[str]:
    """Say in a few sentences what came out."""
    interval = report["intervals"]["joint"]
    songs = "1 song" if report["num_songs"] == 1 else f"{report['num_songs']} songs"
    around = f" (95 % interval {ends(interval, '%')})" if interval else ""
    said = [
        f"Stem and direction are right in {number(report['joint'], '%')} % of {report['num_rows']}"
        f" rows of {songs}{around}."
    ]
    if report["run"]["config"] == DIFFERENTIAL:
        said = [said[0].replace("Stem and direction are", "Every stem and direction is")]
        said.append(
            f"Advised changes lie {number(report['error_db'], 'dB')} dB from those needed, "
            f"{number(report['changed_error_db'], 'dB')} dB where a stem is to be moved."
        )
    ceiling = report["baselines"].get("ceiling")
    if ceiling:
        share = report["joint"] / ceiling["joint"] if ceiling["joint"] else 0.0
        said.append(
            f"The ceiling reaches {number(ceiling['joint'], '%')} %; the model's figure is "
            f"{100 * share:.0f} % of that."
        )
    if "calibration" in report:
        found = report["calibration"]["model"]["joint"]
        said.append(
            f"It is right in {number(found['share'], '%')} % of rows where it says "
            f"{number(found['mean'], '%')} % on average; expected calibration error "
            f"{number(found['error'], '%')} %."
        )
    if "text" in report:
        said.append(text_headline(report))
    return said


def as_markdown(report: Mapping[str, Any]) -> str:
    """Write the table in Markdown, with what came out above and the run below it.

    Tables of text metrics, where there are any, follow it.
    """
    lines = [f"# {_title(report)}", "", " ".join(headline(report)), ""]
    lines += as_markdown_lines(systems_table(report))
    lines += ["", _about_intervals(report)]
    if report["notes"]:
        lines += ["", *(f"- {note}" for note in report["notes"])]
    if "text" in report:
        for table in text_tables(report, _systems(report)):
            lines += ["", f"## {table.title}", "", *as_markdown_lines(table)]
        lines += ["", "\n\n".join(text_notes(report))]
    lines += ["", "## This run", ""]
    lines += [f"- {name}: {value}" for name, value in _run_facts(report["run"])]
    return "\n".join(lines) + "\n"


def as_html(report: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> str:
    """Write the page, which needs no other file.

    Args:
        report: what `build_report` returned.
        lines: answers with their grades, some wrong ones of which are shown.
    """
    from jinja2 import Environment

    try:
        pictures, notes = _pictures(report), []
    except MixingBuddyError as error:
        pictures, notes = [], [str(error)]
    wrong = [line for line in lines if not line["joint"]]
    step = max(1, len(wrong) // NUM_EXAMPLES)
    source = files("mixing_buddy").joinpath("pages", "evaluation.html.jinja").read_text("utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source).render(
        title=_title(report),
        headline=headline(report),
        systems=systems_table(report),
        about_intervals=_about_intervals(report),
        knows={name: each["knows"] for name, each in report["baselines"].items()},
        pictures=pictures,
        texts=text_tables(report, _systems(report)) if "text" in report else [],
        text_notes=text_notes(report) if "text" in report else [],
        tables=_tables(report),
        examples=wrong[::step][:NUM_EXAMPLES],
        num_wrong=len(wrong),
        notes=[*report["notes"], *notes],
        run=_run_facts(report["run"]),
    )


def _systems(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    ranked = {_RANKED: report["ranked"]} if "ranked" in report else {}
    return {_MODEL: report, **ranked, **dict(reversed(report["baselines"].items()))}


def _columns(report: Mapping[str, Any]) -> _Columns:
    if report["run"]["config"] != DIFFERENTIAL:
        return _ADVICE_COLUMNS
    # Without a range, the consensus is the point.
    return {
        name: column
        for name, column in _CHANGE_COLUMNS.items()
        if report["num_ranged"] or "consensus" not in name
    }


def _pictures(report: Mapping[str, Any]) -> list[Picture]:
    drawn: dict[str, bytes] = {}
    systems = _systems(report)
    own = (_MODEL, _RANKED)

    def values(measure: str, scale: float) -> dict[str, tuple[float, Sequence[float] | None]]:
        return {
            name: (scale * sums[measure], [scale * end for end in sums["intervals"][measure] or ()])
            for name, sums in systems.items()
        }

    drawn["Joint accuracy"] = plots.plot_systems(values("joint", 100), "joint accuracy (%)", own)
    if report["run"]["config"] == DIFFERENTIAL:
        drawn["Error of changes"] = plots.plot_systems(
            values("error_db", 1), "mean error over all stems (dB)", own
        )
        shown = {"model": report, **report["baselines"]}
        shown.pop("oracle", None)
        for group, label in (
            ("size", "largest needed change (dB)"),
            ("num_changed", "number of stems that differ"),
        ):
            drawn[f"By {label}"] = plots.plot_errors(
                {name: sums["by"][group] for name, sums in shown.items()},
                {name: sums["intervals"]["by"][group] for name, sums in shown.items()},
                label,
            )
    else:
        drawn["Accuracy against the size of the imbalance"] = plots.plot_by_gain(report["by_gain"])
    drawn["What was answered where what was right (rows)"] = plots.plot_confusion(
        report["confusion"]
    )
    if "calibration" in report:
        found = report["calibration"]
        for event, words in (
            ("joint", "stem and direction are right"),
            ("balanced", "the mix is balanced"),
        ):
            drawn[f"Reliability: {words}"] = plots.plot_reliability(
                {name: each[event] for name, each in found.items()}, words
            )
        drawn["Risk against coverage"] = plots.plot_risk_coverage(
            {name: each["risk_coverage"] for name, each in found.items()}
        )
    return [
        Picture(title, "data:image/png;base64," + base64.b64encode(png).decode())
        for title, png in drawn.items()
    ]


def _tables(report: Mapping[str, Any]) -> list[Table]:
    is_differential = report["run"]["config"] == DIFFERENTIAL
    columns = _CHANGE_GROUP_COLUMNS if is_differential else _GROUP_COLUMNS
    tables = [_group_table(report, name, columns) for name in report["by"] if report["by"][name]]
    if "published" in report:
        names = ("joint", "stem", "direction", "magnitude")
        rows = [
            ["ours", *(number(report[name], "%") for name in names)],
            ["published", *(number(report["published"][name], "%") for name in names)],
        ]
        tables.insert(0, Table("By the published rules (%)", ["rules", *names], rows))
    for system, found in report.get("calibration", {}).items():
        rows = [
            [
                f"{100 * each['target_error']:g}",
                figure(each["coverage"], each["coverage_interval"], "%"),
                figure(each["error"], each["error_interval"], "%"),
            ]
            for each in found["abstention"]
        ]
        header = ["errors allowed (%)", "rows answered (%)", "errors made (%)"]
        if rows:
            tables.append(Table(f"Saying nothing when unsure: {system}", header, rows))
    if "calibration" in report:
        rows = [
            [
                system,
                *(figure(e["error"], e["interval"], "%") for e in (f["joint"], f["balanced"])),
                number(f["joint"]["chance"], "%"),
                *(number(f["risk_coverage"][n], "%") for n in ("area", "best_area")),
            ]
            for system, f in report["calibration"].items()
        ]
        header = [
            "system", "ECE, joint", "ECE, balanced", "joint, by chance", "area under risk",
            "least possible",
        ]  # fmt: skip
        tables.append(Table("Calibration (%)", header, rows))
    return tables


def _group_table(report: Mapping[str, Any], name: str, columns: _Columns) -> Table:
    groups = report["by"][name]
    # What no group has, such as joint accuracy of a single stem, needs no column.
    shown = {
        column: (path, unit)
        for column, (path, unit) in columns.items()
        if any(at(sums, path) is not None for sums in groups.values())
    }
    header = ["", "rows", *(f"{column} ({unit})" for column, (_, unit) in shown.items())]
    rows = []
    for group, sums in groups.items():
        intervals = report["intervals"]["by"].get(name, {}).get(group)
        cells = [
            figure(at(sums, path), at(intervals, path) if place == 0 else None, unit)
            for place, (path, unit) in enumerate(shown.values())
        ]
        # Errors of single stems are over every row.
        rows.append([group, str(sums.get("num_rows", report["num_rows"])), *cells])
    title = f"By {_GROUP_NAMES.get(name, name.replace('_', ' '))}"
    return Table(title, header, rows, is_long=len(rows) > 12)


def _about_intervals(report: Mapping[str, Any]) -> str:
    if report["num_songs"] < 2:
        return "No intervals: one song says nothing about others."
    return "In brackets: 95 % intervals by bootstrap over songs."


def _run_facts(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = []
    for name, value in run.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {each}" for key, each in value.items())
        if value is not None:
            facts.append((re.sub(" s$", " (s)", name.replace("_", " ")), str(value)))
    return facts


def _title(report: Mapping[str, Any]) -> str:
    run = report["run"]
    kind = f", {run['prompt_category']} prompts" if run.get("prompt_category") else ""
    return f"{run['model']} on {run['dataset']}, {run['config']}, {run['split']}{kind}"
