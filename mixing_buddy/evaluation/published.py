"""The metric as it was published for the first system of this kind, fault included.

Only for comparing new figures with old ones; `mixing_buddy.evaluation.grading` is ours. The rules
are those of the published description. The keyword lists are our own, chosen so that all 200
published verdicts come out (a test compares them).

The fault: keywords are looked for as substrings, so "loud", which asks to lower, is found inside
"louder", and "quiet", which asks to raise, inside "quieter". An answer such as "needs to be
slightly louder. Boost it by 3 to 6 dB" is then thrown out as contradicting itself.
``docs/metric.md`` says what that and the other rules cost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mixing_buddy.flaws import Category, Direction

#: Substrings that ask for more of a stem.
INCREASE_KEYWORDS: tuple[str, ...] = (
    "increas", "rais", "boost", "more volume", "turn up", "bring up", "quiet", "too low",
    "little low", "inaudible", "barely", "difficult to hear", "soft", "weak", "buried",
)  # fmt: skip
#: Substrings that ask for less of it.
DECREASE_KEYWORDS: tuple[str, ...] = (
    "decreas", "reduc", "lower", "less volume", "turn down", "bring down", "brought down", "loud",
    "too high", "little high", "overpower", "overwhelm", "dominat",
)  # fmt: skip
#: Substrings that call the mix balanced, where nothing is to be raised or lowered.
NO_ERROR_KEYWORDS: tuple[str, ...] = (
    "no change", "no adjustment", "no modification", "well-balanced", "correctly balanced",
    "properly balanced", "proper balance", "balance is correct", "balance is good",
    "appropriate level", "proper level", "correct level",
)  # fmt: skip

_STEMS = ("vocals", "drums", "bass", "other")
_SENTENCE_END = re.compile(r"[.!?]")  # splits decimals, too
_NUMBER = r"(\d+(?:\.\d+)?)"
_RANGES = tuple(
    re.compile(pattern.replace("N", _NUMBER))
    for pattern in (
        r"between\s+N\s+and\s+N\s*db",
        r"N\s+to\s+N\s*db",
        r"between\s+N\s*[-–]\s*N\s*db",
        r"N\s*[-–]\s*N\s*db",
    )
)
_TOLERANCE_DB = 1e-3


@dataclass(frozen=True)
class PublishedVerdict:
    """What the published script says of one answer.

    Args:
        both: stem and direction are right.
        stem: the stem is right; on a balanced mix, the direction is.
        direction: the direction is right.
        magnitude: the range is right; always False on a balanced mix, where it isn't counted.
        predicted_stem: the stem that it finds, None where it finds none. Where the answer calls
            the mix balanced it is the true target: stems are then right whatever the truth.
        predicted_direction: what it finds; None where it finds nothing or a contradiction.
    """

    both: bool
    stem: bool
    direction: bool
    magnitude: bool
    predicted_stem: str | None
    predicted_direction: Direction | None

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self)


def published_verdict(row: Mapping[str, Any], answer: str) -> PublishedVerdict:
    """Grade one answer as the published script does.

    Args:
        row: `category`, `target`, `direction`, `min_db`, `max_db`.
        answer: the text.
    """
    text = answer.lower()
    sentences = _SENTENCE_END.split(text)
    if any(_contradicts(sentences, stem) for stem in _STEMS):
        return PublishedVerdict(False, False, False, False, None, None)
    stem, direction = _predict(sentences)
    if direction is None and _has_any(text, NO_ERROR_KEYWORDS):
        stem, direction = row["target"], Direction.NONE
    is_error = row["category"] != Category.NO_ERROR
    direction_right = direction is not None and direction == row["direction"]
    stem_right = stem == row["target"] if is_error else direction_right
    return PublishedVerdict(
        both=stem_right and direction_right,
        stem=stem_right,
        direction=direction_right,
        magnitude=is_error and _names_range(text, row["min_db"], row["max_db"]),
        predicted_stem=stem,
        predicted_direction=direction,
    )


def summarise_published(
    rows: Sequence[Mapping[str, Any]], answers: Sequence[str]
) -> dict[str, float | None]:
    """Sum up as the published tables do.

    Args:
        rows: rows of a dataset, each counted, however often a mix comes.
        answers: one text for each.

    Returns:
        `joint`, `stem` and `direction` over all rows, `magnitude` over the flawed ones whatever
        the stem; None over no rows.
    """
    verdicts = [published_verdict(row, each) for row, each in zip(rows, answers, strict=True)]
    flawed = [
        verdict
        for row, verdict in zip(rows, verdicts, strict=True)
        if row["category"] != Category.NO_ERROR
    ]
    return {
        "joint": _share([verdict.both for verdict in verdicts]),
        "stem": _share([verdict.stem for verdict in verdicts]),
        "direction": _share([verdict.direction for verdict in verdicts]),
        "magnitude": _share([verdict.magnitude for verdict in flawed]),
    }


def _contradicts(sentences: Sequence[str], stem: str) -> bool:
    naming = " ".join(sentence for sentence in sentences if _names(sentence, stem))
    return _has_any(naming, INCREASE_KEYWORDS) and _has_any(naming, DECREASE_KEYWORDS)


def _predict(sentences: Sequence[str]) -> tuple[str | None, Direction | None]:
    for sentence in sentences:
        for stem in _STEMS:
            if _names(sentence, stem):
                if _has_any(sentence, INCREASE_KEYWORDS):
                    return stem, Direction.RAISE
                if _has_any(sentence, DECREASE_KEYWORDS):
                    return stem, Direction.LOWER
    return None, None


def _names(sentence: str, stem: str) -> bool:
    return re.search(rf"\b{stem}\b", sentence) is not None


def _has_any(text: str, keywords: Sequence[str]) -> bool:
    return any(keyword in text for keyword in keywords)


def _names_range(text: str, min_db: float, max_db: float) -> bool:
    for pattern in _RANGES:
        if match := pattern.search(text):
            low, high = float(match[1]), float(match[2])
            return abs(low - min_db) < _TOLERANCE_DB and abs(high - max_db) < _TOLERANCE_DB
    return False


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None
