"""The report on a study: Markdown, one HTML page, figures as JSON, plots, and CSV files."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mixing_buddy.errors import StudyError
from mixing_buddy.files import open_to_replace
from mixing_buddy.study import analysis, judges, plots
from mixing_buddy.study.material import Study
from mixing_buddy.study.questions import COMMENT, Questionnaire, read_questionnaire
from mixing_buddy.study.store import RATER
from mixing_buddy.version import __version__

_STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #1d2430; max-width: 860px; margin: 0 auto;
  padding: 24px 16px 64px; }
h1 { font-size: 26px; } h2 { font-size: 20px; margin-top: 40px; }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: 12px 0; }
th, td { padding: 4px 14px 4px 0; text-align: left; border-bottom: 1px solid #e4e7ec; }
img { max-width: 100%; } code { background: #f2f4f7; padding: 1px 4px; border-radius: 4px; }
"""


def write_report(
    study: Study, out: Path, *, judges: Sequence[Path], num_resamples: int, seed: int
) -> dict[str, Any]:
    """Evaluate a study and write everything about it.

    Args:
        study: the study, with answers.
        out: folder, made if it is missing; files of the report's names in it are replaced.
        judges: folders that ``mixing-buddy judge --out`` wrote.
        num_resamples: for intervals.
        seed: what these are drawn from.

    Returns:
        The figures, as in ``figures.json``.

    Raises:
        StudyError: nobody has answered, or a judge's files can't be used.
    """
    tables = analysis.read_tables(study)
    asked = read_questionnaire(study.folder / "questions.yaml")
    figures, pictures = _evaluate(study, tables, asked, judges, num_resamples, seed)
    command = f"mixing-buddy study analyse {study.folder.name}" + "".join(
        f" --judge {folder.name}" for folder in judges
    )
    command += f" --resamples {num_resamples} --seed {seed}"
    figures["made_by"] = {"command": command, "version": __version__, "study_seed": study.seed}
    text = _markdown(study, figures, tables, asked)
    page = _html(text, pictures)
    out.mkdir(parents=True, exist_ok=True)
    contents: dict[str, bytes] = {
        "report.md": text.encode(),
        "report.html": page.encode(),
        "figures.json": (json.dumps(figures, indent=2) + "\n").encode(),
        **pictures,
        **{
            name: table.map(_harmless).to_csv(index=False).encode()
            for name, table in _exports(study, tables).items()
        },
    }
    for name, content in contents.items():
        with open_to_replace(out / name) as file:
            file.write(content)
    return figures


def _evaluate(
    study: Study,
    tables: analysis.Tables,
    asked: Questionnaire,
    judge_folders: Sequence[Path],
    num_resamples: int,
    seed: int,
) -> tuple[dict[str, Any], dict[str, bytes]]:
    excluded = analysis.find_excluded(tables)
    # Tables and plots keep the order in which questions are asked.
    place = {question.name: place for place, question in enumerate(asked.questions)}
    everybody = analysis.ratings_of(tables).sort_values(
        "question", key=lambda column: column.map(place), kind="stable"
    )
    ratings = everybody[~everybody["participant"].isin(list(excluded))]
    codes = analysis.codes_of(tables)
    chance = {"num_resamples": num_resamples, "seed": seed}
    found, differences = analysis.means(ratings, **chance)
    raters = tables.participants[tables.participants["role"] == RATER]
    figures: dict[str, Any] = {
        "num_joined": len(raters),
        "num_analysed": int(ratings["participant"].nunique()),
        "num_items": int(ratings["item"].nunique()),
        "num_ratings": len(ratings),
        "excluded": {str(number): reason for number, reason in excluded.items()},
        "means": found,
        "means_of_all": analysis.means(everybody, **chance)[0] if excluded else [],
        "differences": differences,
        "alpha": {
            question.name: analysis.ordinal_alpha(
                ratings[ratings["question"] == question.name], question.choices
            )
            for question in asked.questions
        },
        "abx": tables.abx.to_dict("records"),
        "kappa": analysis.annotator_agreement(codes, **chance),
        "coded_yes": analysis.coded_shares(codes).to_dict("records"),
        "judges": {},
    }
    pictures: dict[str, bytes] = {}
    if len(ratings):
        pictures["means.png"] = plots.plot_means(found)
        pictures["answers.png"] = plots.plot_answers(ratings, asked.questions[0].choices)
    if len(tables.abx):
        pictures["listening.png"] = plots.plot_abx(tables.abx)
    people = judges.people_scores(ratings, codes)
    for folder in judge_folders:
        judge = judges.read_judge(folder, study)
        if judge.name in figures["judges"]:
            raise StudyError(f"{folder}: {judge.name} was given already.")
        rows = judges.correlate(judge.scores, people, **chance)
        figures["judges"][judge.name] = rows
        pairs = [(row["criterion"], row["question"]) for row in rows if row["planned"]]
        if pairs:
            pictures[_picture_name(judge.name)] = plots.plot_judge(judge.scores, people, pairs)
    return figures, pictures


def _markdown(
    study: Study, figures: Mapping[str, Any], tables: analysis.Tables, asked: Questionnaire
) -> str:
    made_by = figures["made_by"]
    parts = [
        "# Listening study",
        f"{figures['num_analysed']} of {figures['num_joined']} participants count, with "
        f"{figures['num_ratings']} ratings of {figures['num_items']} items by "
        f"{len(study.systems)} systems. Brackets hold 95 % intervals.",
        "## Ratings",
        _means_section(figures, asked),
        *_listening_section(figures, tables),
        "## Agreement of raters",
        "Krippendorff's alpha, ordinal: 1 is full agreement, 0 what chance gives.",
        _table(
            ["question", "alpha"],
            [[_words(name), _number(value)] for name, value in figures["alpha"].items()],
        ),
        "## Coding by two annotators",
        _coding_section(figures),
    ]
    for name, rows in figures["judges"].items():
        parts += [f"## Judge {_escape(name)} and people", _judge_section(name, rows)]
    parts += [
        "## How this was made",
        f"- `{made_by['command']}`\n- Mixing Buddy {made_by['version']}; the study's seed is "
        f"{made_by['study_seed']}, loudness {study.loudness_lufs:g} LUFS.\n- Consent texts agreed "
        f"to: {_consents(tables)}.",
    ]
    return "\n\n".join(parts) + "\n"


def _means_section(figures: Mapping[str, Any], asked: Questionnaire) -> str:
    if not figures["means"]:
        return "Nobody who counts has rated anything yet."
    systems = sorted({row["system"] for row in figures["means"]})
    cells = {(row["question"], row["system"]): _estimate(row) for row in figures["means"]}
    texts = {question.name: question for question in asked.questions}
    rows = [
        [_words(name), *(cells.get((name, system), "-") for system in systems)] for name in texts
    ]
    parts = [
        "Means on a scale of 1 to 5; intervals by bootstrap over participants and items.",
        _table(["question", *map(_escape, systems)], rows),
        "![Mean of every question](means.png)",
        "![Share of every answer](answers.png)",
    ]
    if figures["differences"]:
        parts += [
            "Differences of means, from ratings of the same people and items:",
            _table(
                ["question", "systems", "difference"],
                [
                    [
                        _words(row["question"]),
                        _escape(f"{row['system']} - {row['other']}"),
                        _estimate(row, signed=True),
                    ]
                    for row in figures["differences"]
                ],
            ),
        ]
    if figures["means_of_all"]:
        cells = {
            (row["question"], row["system"]): _estimate(row) for row in figures["means_of_all"]
        }
        rows = [[_words(n), *(cells.get((n, system), "-") for system in systems)] for n in texts]
        parts += [
            "The same with nobody left out:",
            _table(["question", *map(_escape, systems)], rows),
        ]
    return "\n\n".join(parts)


def _listening_section(figures: Mapping[str, Any], tables: analysis.Tables) -> list[str]:
    if not figures["abx"]:
        return ["## Listening check", "Nobody has finished it."]
    rows = []
    for level_db, table in tables.abx.groupby("level_db", sort=False):
        heard = int((table["p_value"] < analysis.SIGNIFICANCE).sum())
        share = table["num_correct"].sum() / table["num_trials"].sum()
        rows.append([f"{level_db:g} dB", str(len(table)), f"{100 * share:.0f} %", str(heard)])
    reasons = [f"- Participant {who}: {why}." for who, why in figures["excluded"].items()]
    return [
        "## Listening check",
        "Two mixes that differ in one stem's level, told apart in ABX trials; heard where guessing "
        f"does as well in under {100 * analysis.SIGNIFICANCE:g} % of cases (binomial, one-sided).",
        _table(["difference", "participants", "trials right", "heard it"], rows),
        "![Right trials of every participant](listening.png)",
        "Left out, by rules that were fixed before:",
        "\n".join(reasons) if reasons else "- Nobody.",
    ]


def _coding_section(figures: Mapping[str, Any]) -> str:
    if not figures["kappa"]:
        return "Not coded by two annotators yet."
    rows = [
        [
            _words(row["question"]),
            str(row["count"]),
            f"{100 * row['same']:.0f} %",
            "undefined: only one code was used" if row["kappa"] is None
            else _estimate({"value": row["kappa"], "interval": row["interval"]}),
        ]
        for row in figures["kappa"]
    ]  # fmt: skip
    shares = pd.DataFrame(figures["coded_yes"]).pivot(
        index="system", columns="question", values="value"
    )
    names = [row["question"] for row in figures["kappa"]]
    by_system = [
        [_escape(str(system)), *(f"{100 * shares.loc[system, name]:.0f} %" for name in names)]
        for system in shares.index
    ]
    return "\n\n".join(
        [
            _table(["code", "answers", "coded alike", "Cohen's kappa"], rows),
            "Share of answers coded yes, over both annotators:",
            _table(["system", *map(_words, names)], by_system),
        ]
    )


def _judge_section(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    def cell(row: Mapping[str, Any], measure: str) -> str:
        return _estimate({"value": row[measure], "interval": row.get(f"{measure}_interval")})

    planned = [row for row in rows if row["planned"]]
    head = ["judge", "people", "answers", "Spearman", "Kendall"]
    lines = [
        [_words(row["criterion"]), _words(row["question"]), str(row["count"]),
         cell(row, "spearman"), cell(row, "kendall")]
        for row in rows
    ]  # fmt: skip
    parts = [
        "Correlation of the judge's score of an answer with the mean of what people said of it; "
        "intervals by bootstrap over items. Rank has its sign turned: more is better.",
        _table(head, [line for line, row in zip(lines, rows, strict=True) if row["planned"]]),
    ]
    if planned:
        parts.append(f"![Judge against people]({_picture_name(name)})")
    others = [line for line, row in zip(lines, rows, strict=True) if not row["planned"]]
    if others:
        parts += ["Pairs that nobody planned to compare:", _table(head, others)]
    return "\n\n".join(parts)


def _harmless(value):
    """Keep a spreadsheet from running what somebody wrote as a formula."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


def _exports(study: Study, tables: analysis.Tables) -> dict[str, pd.DataFrame]:
    """CSV files; categories and songs stand beside the items, codes and times nowhere."""
    items = pd.DataFrame(
        [
            {"item": item.name, "uid": item.uid, "song": item.song, "category": item.category}
            for item in study.items
        ]
    )
    is_comment = tables.answers["question"] == COMMENT
    return {
        "participants.csv": tables.participants,
        "ratings.csv": analysis.ratings_of(tables).merge(items, on="item"),
        "codes.csv": analysis.codes_of(tables).merge(items, on="item"),
        "comments.csv": tables.answers[is_comment].drop(columns="question"),
        "pages.csv": tables.pages,
        "abx_trials.csv": tables.trials,
        "abx_results.csv": tables.abx,
    }


def _html(text: str, pictures: Mapping[str, bytes]) -> str:
    """Turn the report into one page that needs no other file."""
    from markdown_it import MarkdownIt

    # Names of systems and models are others' words: no HTML of theirs is let through.
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    for name, picture in pictures.items():
        address = "data:image/png;base64," + base64.b64encode(picture).decode()
        body = body.replace(f'src="{name}"', f'src="{address}"')
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Listening study</title><style>{_STYLE}</style></head>"
        f"<body>\n{body}</body></html>\n"
    )


def _consents(tables: analysis.Tables) -> str:
    counts = tables.participants["consent"].dropna().value_counts()
    return ", ".join(f"{version} ({count})" for version, count in counts.items()) or "none"


def _picture_name(judge: str) -> str:
    return "judge-" + (re.sub(r"[^A-Za-z0-9.]+", "-", judge).strip("-.") or "local") + ".png"


def _estimate(row: Mapping[str, Any], *, signed: bool = False) -> str:
    form = "+.2f" if signed else ".2f"
    if row["value"] is None:
        return "-"
    if row["interval"] is None:
        return f"{row['value']:{form}}"
    low, high = row["interval"]
    return f"{row['value']:{form}} ({low:{form}} to {high:{form}})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _escape(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|])", r"\\\1", text)
