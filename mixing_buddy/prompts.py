"""Instructions and responses, filled from the template pools in ``templates/*.yaml``.

The pools are data, so that wording can be edited without touching code; `check_templates`
says whether an edit still fills, reads and parses for every stem and category.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from importlib import resources
from itertools import permutations
from typing import Any

import yaml

from mixing_buddy.advice import parse_advice
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.flaws import FLAWS, Category
from mixing_buddy.stems import ADVISED_STEMS, STEMS

#: Sizes of the pools; `check_templates` holds the files to them.
NUM_INSTRUCTIONS = 10
NUM_RESPONSES = 10

SYSTEM_MESSAGE = "You are a mixing engineer who gives gain-balance advice."

_MAX_INSTRUCTION_WORDS = 35
_MAX_RESPONSE_WORDS = 30


def instruction(index: int, *, duration_s: float, stems: Sequence[str], anchor: str) -> str:
    """Fill an instruction template.

    Args:
        index: which template, 0 to `NUM_INSTRUCTIONS` - 1.
        duration_s: length of the clip in seconds; said to a tenth of a second.
        stems: the stems that sound in the clip, a subset of `STEMS`.
        anchor: the stem whose level is taken as right, one of `ADVISED_STEMS` and of ``stems``.

    Returns:
        The user's question.

    Raises:
        MixingBuddyError: an argument is out of range, or the template names an unknown
            placeholder.
    """
    templates = _load("instructions")
    where = f"templates/instructions.yaml, instruction {index}"
    _check_index(index, len(templates), where)
    for stem in stems:
        _check_stem(stem, STEMS, "stem")
    _check_stem(anchor, ADVISED_STEMS, "anchor")
    if anchor not in stems:
        raise MixingBuddyError(
            f"The anchor {anchor!r} is not among the clip's stems ({', '.join(stems)}): "
            "name an anchor that sounds in the clip."
        )
    duration = _format_duration(duration_s)
    words = {
        "duration": duration,
        "a_duration": f"{_article(duration)} {duration}",
        "stems": _format_stems(stems),
        **_stem_words("anchor", anchor),
    }
    return _fill(templates[index], words, where)


def response(index: int, category: Category, *, target: str, anchor: str) -> str:
    """Fill a response template.

    Args:
        index: which template, 0 to `NUM_RESPONSES` - 1; its opening is the same whatever
            the category.
        category: the flaw that the answer describes.
        target: the stem that carries the flaw, one of `ADVISED_STEMS`; not named where the
            category is ``no_error``.
        anchor: the stem that the target is measured against, another of `ADVISED_STEMS`.

    Returns:
        The assistant's answer.

    Raises:
        MixingBuddyError: an argument is out of range, or the template names an unknown
            placeholder.
    """
    templates = _load("responses")
    category = Category(category)
    where = f"templates/responses.yaml, response {index}, {category}"
    _check_index(index, len(templates), where)
    _check_stem(target, ADVISED_STEMS, "target")
    _check_stem(anchor, ADVISED_STEMS, "anchor")
    if target == anchor:
        raise MixingBuddyError(
            f"Target and anchor are both {target!r}: a stem can't be measured against itself; "
            "choose another anchor."
        )
    words = _stem_words("anchor", anchor)
    flaw = FLAWS[category]
    if category is not Category.NO_ERROR:
        words |= _stem_words("target", target)
        words |= {"min_db": f"{flaw.min_db:g}", "max_db": f"{flaw.max_db:g}"}
    template = templates[index]
    missing = {"opening", category.value} - set(template)
    if missing:
        raise MixingBuddyError(f"{where}: no entry {sorted(missing)[0]!r}: add it.")
    return _fill(f"{template['opening']} {template[category.value]}", words, where)


def check_templates() -> None:
    """Check every template in every filling; run it after editing the YAML.

    Every template must fill for every target, anchor and category; every response must parse
    back to exactly the advice it was made from; and the responses must keep the order of
    decisions stated at the top of ``responses.yaml``.

    Raises:
        MixingBuddyError: the first fault, with file, category and index.
    """
    for name, expected in (("instructions", NUM_INSTRUCTIONS), ("responses", NUM_RESPONSES)):
        if len(_load(name)) != expected:
            raise MixingBuddyError(
                f"templates/{name}.yaml holds {len(_load(name))} templates, not {expected}."
            )
    for index, template in enumerate(_load("instructions")):
        where = f"templates/instructions.yaml, instruction {index}"
        for placeholder in ("duration}", "{stems}", "{anchor"):
            if placeholder not in template:
                raise MixingBuddyError(f"{where}: lacks {placeholder.strip('{}')}: {template!r}")
        for anchor in ADVISED_STEMS:
            text = instruction(index, duration_s=10.0, stems=STEMS, anchor=anchor)
            _check_length(text, _MAX_INSTRUCTION_WORDS, where)
    openings = [template["opening"] for template in _load("responses")]
    for index, opening in enumerate(openings):
        where = f"templates/responses.yaml, response {index}"
        if opening in openings[:index]:
            raise MixingBuddyError(f"{where}: its opening is that of an earlier one: {opening!r}")
        if "{anchor" not in opening or "{target" in opening:
            raise MixingBuddyError(
                f"{where}: the opening must name the anchor and not the target: {opening!r}"
            )
        for target, anchor in permutations(ADVISED_STEMS, 2):
            _check_responses(index, target=target, anchor=anchor)


def _check_responses(index: int, *, target: str, anchor: str) -> None:
    """Check one response template, in one filling, in all five categories."""
    texts = {c: response(index, c, target=target, anchor=anchor) for c in Category}
    for category, text in texts.items():
        where = f"templates/responses.yaml, response {index}, {category}"
        _check_length(text, _MAX_RESPONSE_WORDS, where)
        flaw, advice = FLAWS[category], parse_advice(text)
        stem = None if category is Category.NO_ERROR else target
        expected = (stem, flaw.direction, flaw.min_db, flaw.max_db)
        parsed = (advice.stem, advice.direction, advice.min_db, advice.max_db)
        if parsed != expected:
            raise MixingBuddyError(
                f"{where}: {text!r} parses as {parsed}, not {expected}: reword it, or teach "
                "templates/advice_lexicon.yaml its words."
            )
    where = f"templates/responses.yaml, response {index}"
    opening = _fill(_load("responses")[index]["opening"], _stem_words("anchor", anchor), where)
    flawed = [text for category, text in texts.items() if category is not Category.NO_ERROR]
    num_opening = len(opening.split())
    verdict_words = [text.split()[num_opening] for text in flawed]
    if set(verdict_words) != {target}:
        raise MixingBuddyError(
            f"{where}: the stem must be the first word after the opening, not {verdict_words}."
        )
    named = set(re.findall(r"\w+", texts[Category.NO_ERROR])) & (set(STEMS) - {anchor})
    if named:
        raise MixingBuddyError(f"{where}, no_error: names {sorted(named)} beside the anchor.")
    # Words shared by every flawed text, against those shared within one direction.
    num_undirected = _num_shared_words(flawed)
    for small, large in (
        (Category.QUIET, Category.VERY_QUIET),
        (Category.LOUD, Category.VERY_LOUD),
    ):
        if _num_shared_words([texts[small], texts[large]]) <= num_undirected:
            raise MixingBuddyError(
                f"{where}: {small} and {large} must share the words that give the direction "
                "before they part over the size."
            )


def _num_shared_words(texts: Sequence[str]) -> int:
    """Number of words that all ``texts`` begin with."""
    num_words = 0
    for words in zip(*(text.split() for text in texts), strict=False):
        if len(set(words)) > 1:
            break
        num_words += 1
    return num_words


@functools.cache
def _load(name: str) -> Any:
    """Content of ``templates/<name>.yaml``."""
    text = resources.files("mixing_buddy").joinpath("templates", f"{name}.yaml").read_text("utf-8")
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise MixingBuddyError(f"templates/{name}.yaml is not valid YAML: {error}") from error


def _stem_words(role: str, stem: str) -> dict[str, str]:
    """Placeholders for ``stem`` in ``role`` ("anchor" or "target"): names and verb forms."""
    data = _load("stems")
    forms = data["stems"][stem]
    words = {role: forms["name"], f"{role}_attributive": forms["attributive"]}
    for verb, by_number in data["verbs"].items():
        words[f"{role}_{verb}"] = by_number[forms["number"]]
    return words


def _fill(template: str, words: dict[str, str], where: str) -> str:
    try:
        return template.format_map(words)
    except (KeyError, ValueError, IndexError) as error:
        raise MixingBuddyError(
            f"{where}: can't fill {template!r} ({error}); it may use {{{'}, {'.join(words)}}}."
        ) from error


def _format_duration(duration_s: float) -> str:
    """10.0 to "10-second", 5.83 to "5.8-second"."""
    if not (math.isfinite(duration_s) and duration_s >= 0.1):
        raise MixingBuddyError(f"duration_s is {duration_s}: give a duration of at least 0.1 s.")
    return f"{duration_s:.1f}".removesuffix(".0") + "-second"


def _article(duration: str) -> str:
    """The article that a spoken number takes: an 8-second, an 11-second, a 10-second."""
    whole = duration.split("-")[0].split(".")[0]
    return "an" if whole.startswith("8") or whole in ("11", "18") else "a"


def _format_stems(stems: Sequence[str]) -> str:
    """A list as it is spoken, with the other instruments last."""
    ordered = sorted(stems, key=lambda stem: stem == "other")
    names = [_load("stems")["stems"][stem]["name"] for stem in ordered]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _check_stem(stem: str, allowed: Sequence[str], role: str) -> None:
    if stem not in allowed:
        raise MixingBuddyError(f"Unknown {role} {stem!r}: it must be one of {', '.join(allowed)}.")


def _check_index(index: int, num_templates: int, where: str) -> None:
    if not 0 <= index < num_templates:
        raise MixingBuddyError(f"{where}: there are templates 0 to {num_templates - 1} only.")


def _check_length(text: str, max_words: int, where: str) -> None:
    num_words = len(text.split())
    if num_words > max_words:
        raise MixingBuddyError(f"{where}: {num_words} words, more than {max_words}: {text!r}")
