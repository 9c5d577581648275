"""The questions put to a judge, from ``templates/judge_*.yaml``, and the form of its replies."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mixing_buddy.stems import STEMS
from mixing_buddy.template_pools import load

#: Highest score of a criterion; the lowest is 1.
MAX_SCORE = 5

#: What answers are called in a ranking, in the order in which they are shown.
LABELS: tuple[str, ...] = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")

# Changes below this are no changes: what gains drawn with a tolerance leave in a balanced mix.
_LEAST_CHANGE_DB = 0.05


def rubric() -> list[dict[str, Any]]:
    """The criteria: `name`, `title`, `question` and `anchors` (text by score) of each."""
    return load("judge_rubric")


def criteria() -> tuple[str, ...]:
    """Names of the criteria, in their order."""
    return tuple(criterion["name"] for criterion in rubric())


def describe_truth(row: Mapping[str, Any]) -> str:
    """Say what was done to the mix of a row, what would be right, and whether the user's claim is.

    Args:
        row: dataset row with names for labels.
    """
    changes = []
    for stem in STEMS:
        needed_db = row["needed_change_db"].get(stem) or 0.0
        if row["category"] == "no_error" and row["mode"] != "differential":
            continue
        if abs(needed_db) >= _LEAST_CHANGE_DB:
            ends = (row.get(name) or {} for name in ("tolerance_low_db", "tolerance_high_db"))
            low_db, high_db = (end.get(stem) for end in ends)
            changes.append(
                {
                    "stem": stem,
                    "gain_db": -needed_db,
                    "needed_db": needed_db,
                    "low_db": low_db,
                    "high_db": high_db,
                }
            )
    return _template("truth").render(row=row, changes=changes).strip()


def score_messages(row: Mapping[str, Any], answer: str) -> list[dict[str, str]]:
    """Chat that asks for scores of one answer."""
    return _chat("score", row, answer=_quote(answer))


def rank_messages(row: Mapping[str, Any], answers: Sequence[str]) -> list[dict[str, str]]:
    """Chat that asks for a ranking of answers, shown in the given order as A, B, C ..."""
    shown = [{"label": LABELS[i], "text": _quote(text)} for i, text in enumerate(answers)]
    return _chat("rank", row, answers=shown)


def score_schema() -> dict[str, Any]:
    """JSON schema of a reply with scores; the reason comes first, to be thought of first."""
    score = {"type": "integer", "minimum": 1, "maximum": MAX_SCORE}
    return _schema(dict.fromkeys(criteria(), score))


def rank_schema(num_answers: int) -> dict[str, Any]:
    """JSON schema of a reply with a ranking of so many answers."""
    ranking = {
        "type": "array",
        "items": {"type": "string", "enum": list(LABELS[:num_answers])},
        "minItems": num_answers,
        "maxItems": num_answers,
    }
    return _schema({"ranking": ranking})


def _schema(properties: Mapping[str, Any]) -> dict[str, Any]:
    properties = {"reason": {"type": "string"}, **properties}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _chat(name: str, row: Mapping[str, Any], **values: Any) -> list[dict[str, str]]:
    text = _template(name).render(
        truth=describe_truth(row),
        instruction=_quote(row["instruction"]),
        criteria=rubric(),
        **values,
    )
    return [{"role": "user", "content": text.strip()}]


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@functools.cache
def _template(name: str):
    from jinja2 import Environment, StrictUndefined

    return Environment(undefined=StrictUndefined, autoescape=False).from_string(
        load("judge_prompts")[name]
    )
