"""The template pools in ``templates/*.yaml``: reading them, and filling one template.

What the placeholders mean stands at the top of each file.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import yaml

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.flaws import Category, Direction
from mixing_buddy.stems import STEMS

#: Which way the stem is off, and by how much, in the keys of the compact response pools.
_COMPACT = {
    Category.VERY_QUIET: ("raise", "large"),
    Category.QUIET: ("raise", "small"),
    Category.LOUD: ("lower", "small"),
    Category.VERY_LOUD: ("lower", "large"),
}


@functools.cache
def load(name: str) -> Any:
    """Content of ``templates/<name>.yaml``.

    Raises:
        MixingBuddyError: the file is not valid YAML.
    """
    text = resources.files("mixing_buddy").joinpath("templates", f"{name}.yaml").read_text("utf-8")
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise MixingBuddyError(f"templates/{name}.yaml is not valid YAML: {error}") from error


def pick(name: str, index: int) -> tuple[Any, str]:
    """One template of a pool.

    Returns:
        The template, and where it stands, in words for messages.

    Raises:
        MixingBuddyError: there is no such template.
    """
    pool = load(name)
    where = f"templates/{name}.yaml, template {index}"
    if not 0 <= index < len(pool):
        raise MixingBuddyError(f"{where}: there are templates 0 to {len(pool) - 1} only.")
    return pool[index], where


def entry(template: Mapping[str, str], key: str, where: str) -> str:
    """One entry of a template.

    Raises:
        MixingBuddyError: it is missing.
    """
    if key not in template:
        raise MixingBuddyError(f"{where}: no entry {key!r}: add it.")
    return template[key]


def continuation(template: Mapping[str, str], category: Category, where: str) -> str:
    """What a response template says of a category, after its opening.

    A template either spells all five categories out, or is compact: `raise` and `lower` with
    `{size}` in them, `small` and `large` to be put there, and `balanced`.
    """
    if category.value in template:
        return template[category.value]
    if category is Category.NO_ERROR:
        return entry(template, "balanced", where)
    direction, size = _COMPACT[category]
    text = entry(template, direction, where)
    if "{size}" not in text:
        raise MixingBuddyError(f"{where}, {direction}: no {{size}} in {text!r}: add it.")
    return text.replace("{size}", entry(template, size, where))


def fill(template: str, words: Mapping[str, str], where: str) -> str:
    """Fill the placeholders of a template.

    Raises:
        MixingBuddyError: it names a placeholder that ``words`` doesn't hold.
    """
    try:
        return template.format_map(words)
    except (KeyError, ValueError, IndexError) as error:
        raise MixingBuddyError(
            f"{where}: can't fill {template!r} ({error}); it may use {{{'}, {'.join(words)}}}."
        ) from error


def stem_words(role: str, stem: str) -> dict[str, str]:
    """Placeholders for a stem in a role ("anchor", "target" ...): names and verb forms."""
    data = load("stems")
    forms = data["stems"][stem]
    words = {role: forms["name"], f"{role}_attributive": forms["attributive"]}
    for verb, by_number in data["verbs"].items():
        words[f"{role}_{verb}"] = by_number[forms["number"]]
    return words


def claim_words(stem: str, direction: Direction, template: Mapping[str, str]) -> dict[str, str]:
    """Placeholders for what a description claims, in the words of its instruction template."""
    words = stem_words("claim", stem)
    where = "templates/instructions_description.yaml"
    return words | {"complaint": fill(entry(template, direction.value, where), words, where)}


def clip_words(duration_s: float, stems: Sequence[str], anchor: str) -> dict[str, str]:
    """Placeholders for what the user plays: length and stems.

    ``stems`` are listed as spoken, with the other instruments last; ``tracks`` and ``others``
    in the order in which single tracks are heard: the anchor, then the others as in `STEMS`.
    """
    duration = _format_duration(duration_s)
    others = [stem for stem in STEMS if stem in stems and stem != anchor]
    return {
        "duration": duration,
        "a_duration": f"{_article(duration)} {duration}",
        "stems": _format_list(sorted(stems, key=lambda stem: stem == "other")),
        "tracks": _format_list([anchor, *others]),
        "others": _format_list(others),
    }


def _format_duration(duration_s: float) -> str:
    """10.0 to "10-second", 5.83 to "5.8-second"."""
    if not (math.isfinite(duration_s) and duration_s >= 0.1):
        raise MixingBuddyError(f"duration_s is {duration_s}: give a duration of at least 0.1 s.")
    return f"{duration_s:.1f}".removesuffix(".0") + "-second"


def _article(duration: str) -> str:
    """The article that a spoken number takes: an 8-second, an 11-second, a 10-second."""
    whole = duration.split("-")[0].split(".")[0]
    return "an" if whole.startswith("8") or whole in ("11", "18") else "a"


def _format_list(stems: Sequence[str]) -> str:
    """Names of stems as a list that can be spoken; empty for none."""
    names = [load("stems")["stems"][stem]["name"] for stem in stems]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
