"""Reading a judge's replies, strictly: what is not as asked for is a failure, and stays one."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from mixing_buddy.judging.prompts import LABELS, MAX_SCORE

#: Why a reply can't be used, with what each means.
REPLY_FAILURES: dict[str, str] = {
    "empty": "the reply has no text",
    "refused": "the endpoint marked the reply as refused or filtered",
    "truncated": "the reply ran into the limit of tokens",
    "not_json": "no JSON object is in the reply (refusals in words are among these)",
    "several_objects": "different JSON objects are in the reply",
    "missing_field": "the object lacks a field",
    "bad_score": "a score is no whole number from 1 to 5",
    "bad_ranking": "the ranking does not hold each label exactly once",
}

# What models that think aloud put before the reply.
_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)


class UnusableReply(Exception):
    """A reply can't be used.

    Args:
        kind: a key of `REPLY_FAILURES`.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(REPLY_FAILURES[kind])
        self.kind = kind


def parse_scores(text: str, criteria: Sequence[str]) -> dict[str, int]:
    """Read scores.

    Args:
        text: the reply: a JSON object, which may stand in a code block or among words.
        criteria: fields that it must have.

    Raises:
        UnusableReply: there is no such object.
    """
    found = _only_object(text)
    scores = {name: _field(found, name) for name in criteria}
    for score in scores.values():
        # JSON's true is an int to Python.
        if type(score) is not int or not 1 <= score <= MAX_SCORE:
            raise UnusableReply("bad_score")
    return scores


def parse_ranking(text: str, num_answers: int) -> list[int]:
    """Read a ranking.

    Args:
        text: the reply, as in `parse_scores`.
        num_answers: how many labels it must hold.

    Returns:
        Places of the answers as they were shown, counted from 0, the best first.

    Raises:
        UnusableReply: there is no such object.
    """
    ranking = _field(_only_object(text), "ranking")
    labels = LABELS[:num_answers]
    if not isinstance(ranking, list) or not all(isinstance(each, str) for each in ranking):
        raise UnusableReply("bad_ranking")
    if sorted(ranking) != list(labels):
        raise UnusableReply("bad_ranking")
    return [labels.index(label) for label in ranking]


def _field(found: dict[str, Any], name: str) -> Any:
    if name not in found:
        raise UnusableReply("missing_field")
    return found[name]


def _only_object(text: str) -> dict[str, Any]:
    text = _THOUGHTS.sub("", text)
    if not text.strip():
        raise UnusableReply("empty")
    decoder = json.JSONDecoder(object_pairs_hook=_no_key_twice)
    found: list[dict[str, Any]] = []
    start = text.find("{")
    while start != -1:
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            # Whole objects inside a broken one might read as the reply: nothing is made of it.
            raise UnusableReply("not_json") from None
        found.append(value)
        start = text.find("{", end)
    if not found:
        raise UnusableReply("not_json")
    if any(other != found[0] for other in found[1:]):
        raise UnusableReply("several_objects")
    return found[0]


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)
