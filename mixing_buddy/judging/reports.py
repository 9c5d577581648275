"""What is written of a judgement."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixing_buddy.files import write_whole
from mixing_buddy.judging.clients import TRANSPORT_FAILURES
from mixing_buddy.judging.prompts import rubric
from mixing_buddy.judging.ranking import distinct_texts, mean_ranks
from mixing_buddy.judging.replies import REPLY_FAILURES
from mixing_buddy.judging.study import Judged


def write_judgement(out: Path, judged: Sequence[Judged], report: Mapping[str, Any]) -> None:
    """Write ``judge.json``, ``judge.md``, and ``judgements.jsonl`` with a line for each row.

    Args:
        out: folder, made if it is missing; its files of these names are replaced.
        judged: rows and what was said of them.
        report: what `sum_up` returned, and what was run: `command`, `judge`, `version`, `usage`.
    """
    lines = [json.dumps(_line(each), ensure_ascii=False) for each in judged]
    texts = {
        "judge.json": json.dumps(report, indent=2, ensure_ascii=False) + "\n",
        "judge.md": to_markdown(report),
        "judgements.jsonl": "".join(line + "\n" for line in lines),
    }
    for name, text in texts.items():
        write_whole(out / name, text)


def _line(judged: Judged) -> dict[str, Any]:
    item = judged.item
    texts = distinct_texts(item)
    return {
        "uid": item.row["uid"],
        "song": item.song,
        "answers": dict(item.answers),
        "joint": dict(item.joint),
        "texts": texts,
        "scores": [judged.scores.get(text) for text in texts],
        "score_failures": [judged.score_failures.get(text) for text in texts],
        "score_replies": [judged.score_replies.get(text) for text in texts],
        "rankings": [vars(ranking) for ranking in judged.rankings],
        "mean_ranks": mean_ranks(item, judged.rankings) if judged.rankings else None,
    }


def to_markdown(report: Mapping[str, Any]) -> str:
    """The report as tables.

    Args:
        report: see `write_judgement`.
    """
    systems = report["systems"]
    titles = {criterion["name"]: criterion["title"] for criterion in rubric()}
    is_ranked = "win_rates" in report
    head = ["system", *titles.values()]
    head += ["mean rank", "ranked first"] if is_ranked else []
    head += ["joint by the metric", "answers without a score"]
    rows = []
    for name, figures in systems.items():
        cells = [name, *(_figure(figures["scores"][criterion], 2) for criterion in titles)]
        if is_ranked:
            cells += [_figure(figures["mean_rank"], 2), _percent(figures["ranked_first"])]
        cells += [_percent(figures["metric_joint"]), str(sum(figures["score_failures"].values()))]
        rows.append(cells)
    parts = [
        f"# Judged by {report['judge']['model']}",
        f"{report['num_rows']} rows of {report['num_songs']} songs. Scores go from 1 to 5, rank 1 "
        "is best. In brackets: 95 % intervals by bootstrap over songs.",
        _table(head, rows),
    ]
    if is_ranked:
        wins = [
            [name, *("" if other == name else _percent(row[other]) for other in systems)]
            for name, row in report["win_rates"].items()
        ]
        position = report["position"]
        places = ", ".join(_percent(each) for each in position["first_by_place"])
        parts += [
            "## How often a row's system stands before a column's",
            _table(["", *systems], wins),
            "## Position bias",
            f"- Of two answers, the one shown first was preferred: "
            f"{_percent(position['earlier_preferred'])} (50 % without bias; the orders cancel it "
            "in the tables above).\n"
            f"- The same one won in the reversed order: {_percent(position['consistent'])}.\n"
            f"- Ranked first, by place shown: {places}.\n"
            f"- Rankings left out as their reverse failed: {position['rankings_left_out']}.",
        ]
    agreement = report["agreement"]
    auc = "-" if agreement["auc"] is None else f"{agreement['auc']:.2f}"
    parts += [
        "## Agreement with the metric's joint verdict",
        f"- Same verdict: {_percent(agreement['same_verdict'])}.\n"
        f"- {next(iter(titles.values()))} where the metric says right: "
        f"{_figure(agreement['score_where_right'], 2)}, wrong: "
        f"{_figure(agreement['score_where_wrong'], 2)}; a right answer scores above a wrong one "
        f"(AUC): {auc}.\n"
        f"- Right before wrong in rankings: {_percent(agreement['right_before_wrong'])}.",
        "## Failures",
        "None is replaced by a score or a rank.",
        _failures(report["failures"]),
        "## How this was made",
        f"- `{report['command']}`\n- Mixing Buddy {report['version']}; judge: "
        f"`{json.dumps(report['judge'], ensure_ascii=False)}`\n- Tokens of all replies: "
        f"{report['usage']['input_tokens']} in, {report['usage']['output_tokens']} out.",
    ]
    return "\n\n".join(parts) + "\n"


def _failures(failures: Mapping[str, Mapping[str, int]]) -> str:
    meanings = {"asked": "questions in all"} | TRANSPORT_FAILURES | REPLY_FAILURES
    seen = [kind for kind in meanings if any(kind in counts for counts in failures.values())]
    rows = [
        [kind, meanings[kind], *(str(counts.get(kind, 0)) for counts in failures.values())]
        for kind in seen
    ]
    return _table(["kind", "meaning", *failures], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def _figure(figure: Mapping[str, Any], digits: int, factor: float = 1.0, unit: str = "") -> str:
    if figure["value"] is None:
        return "-"
    text = f"{factor * figure['value']:.{digits}f}{unit}"
    if figure["interval"] is None:
        return text
    low, high = (f"{factor * end:.{digits}f}" for end in figure["interval"])
    return f"{text} [{low}, {high}]"


def _percent(figure: Mapping[str, Any]) -> str:
    return _figure(figure, 1, 100.0, " %")
