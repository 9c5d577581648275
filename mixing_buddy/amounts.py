"""Plain spelling and amounts in dB: the first step of reading an answer."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from mixing_buddy.flaws import Direction


@dataclass(frozen=True)
class Amount:
    """An amount in dB as it was written.

    Args:
        min_db: lower end, a magnitude.
        max_db: upper end, a magnitude; equal to ``min_db`` for a single number.
        direction: what a sign asks for ("+3 dB" raise, "-3 dB" lower), None without one.
    """

    min_db: float
    max_db: float
    direction: Direction | None = None


_NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()
# Not in the middle of a number; a decimal comma has no space behind it.
_NUMBER = rf"(?:(?<![\w./])[+-]?\d+(?:[.,]\d+)?|\b(?:{'|'.join(_NUMBER_WORDS)})\b)"
_UNIT = r"(?:d ?bs?|decibels?)\b"
_TO = r"\s*-?\s*(?:-|up to|to|and|or|~)\s*-?\s*"
_OTHER_UNIT = r"(?!\s*-?\s*(?:%|percent|k?hz|ms|s\b|sec|bars?|beats?|lu|dbfs|dbtp|[.,]?\d))"
_RANGE = re.compile(rf"({_NUMBER})\s*(?:{_UNIT})?{_TO}({_NUMBER})\s*-?{_UNIT}")
_SINGLE = re.compile(rf"({_NUMBER})\s*-?\s*{_UNIT}")
_UNITLESS = re.compile(rf"\b(?:by|between) ({_NUMBER}){_TO}({_NUMBER}){_OTHER_UNIT}")
# As programs write it: "min_db": 3, "max_db": 6; "gain_db": [3, 6]; "gain_db": 4.
_KEYED_RANGE = re.compile(
    rf"\b(?:min db\s*[:=]\s*({_NUMBER})\s*,?\s*max db\s*[:=]\s*"
    rf"|db\s*[:=]\s*\[\s*({_NUMBER})\s*,\s*)({_NUMBER})"
)
_KEYED = re.compile(rf"\bdb\s*[:=]\s*({_NUMBER})")

_SPELLINGS = [
    (r"[^\S\n]+", " "),
    (r"[\u2018\u2019\u02bc]", "'"),
    (r"[\u2212\u00ad\ufe63]", "-"),
    # Between numbers any dash makes a range; elsewhere a long or a spaced one breaks a clause.
    (r"(?<=\d)\s*(?:[\u2010-\u2015]|\.{2,3})\s*(?=\d)", "-"),
    (r"(?<=\d)(\s*d ?bs?)\s*[\u2010-\u2015]\s*(?=\d)", r"\1-"),
    (r"[\u2010\u2011]", "-"),
    (r"[\u2013](?=\d)", "-"),
    (r"[\u2012-\u2015]|(?<=\w)\s+-+\s+(?=[a-z])", " ; "),
    (r"(?<=[a-z])-(?=[a-z])", " "),
    (r"\bminus (?=\d)", "-"),
    (r"\bplus (?=\d)", "+"),
    (r"\b(approx|vs|ca)\.", r"\1"),
    (r"\bwon't\b", "will not"),
    (r"\b(?:can't|cannot)\b", "can not"),
    (r"n't\b", " not"),
    (r"\b(do|is|are|does|should|would|was)nt\b", r"\1 not"),
    (r"\b(it|that|there|what|here)'s\b", r"\1 is"),
    (r"'re\b", " are"),
    (r"'(?:s|ve|d|ll|m)\b", " "),
    (r"\b(?:direction|action|change|stem)\W{1,4}none\b", "no change"),
    (r"\bnot (?:only|just)\b|\bdo not (?:be afraid|hesitate) to\b", " "),
    (r"\u2191", " up "),
    (r"\u2193", " down "),
    (r"[*_#`\"'“”]", " "),
]


def extract_amounts(text: str) -> tuple[str, list[Amount]]:
    """Spell a text plainly and take its amounts in dB out.

    Args:
        text: an answer in free words.

    Returns:
        The text in lower case, contractions written out, each amount replaced by the word
        ``mag<i>``; and the amounts, where ``i`` indexes.
    """
    plain = unicodedata.normalize("NFKC", text).lower()
    for pattern, replacement in _SPELLINGS:
        plain = re.sub(pattern, replacement, plain)
    amounts: list[Amount] = []

    def take(match: re.Match[str]) -> str:
        amounts.append(_amount(tuple(group for group in match.groups() if group)))
        return f" mag{len(amounts) - 1} "

    for pattern in (_KEYED_RANGE, _RANGE, _UNITLESS, _SINGLE, _KEYED):
        plain = pattern.sub(take, plain)
    # A decimal point that is left belongs to no amount; it must not end a sentence.
    return re.sub(r"(?<=\d)\.(?=\d)", " ", plain), amounts


def _amount(groups: tuple[str, ...]) -> Amount:
    values = sorted(abs(_value(number)) for number in groups)
    signs = {number[0] for number in groups if number[0] in "+-"}
    direction = None
    if len(signs) == 1:
        direction = Direction.RAISE if signs == {"+"} else Direction.LOWER
    return Amount(values[0], values[-1], direction)


def _value(number: str) -> float:
    if number in _NUMBER_WORDS:
        return float(_NUMBER_WORDS.index(number))
    return float(number.replace(",", "."))
