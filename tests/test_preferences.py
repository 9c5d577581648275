"""Laws of preference pairs: rejected answers are wrong in one known way, and text tells nothing."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import permutations, product

import numpy as np
import pytest

from mixing_buddy import prompts
from mixing_buddy.advice import parse_advice
from mixing_buddy.claims import DESCRIPTIONS, PromptCategory, possible_claims
from mixing_buddy.errors import RecipeError
from mixing_buddy.evaluation.grading import grade
from mixing_buddy.flaws import FLAWS, Category, Direction
from mixing_buddy.preferences import (
    RejectedKind,
    draw_rejection,
    possible_kinds,
    possible_rejections,
)
from mixing_buddy.stems import ADVISED_STEMS
from mixing_buddy.template_pools import load

PAIRS = list(permutations(ADVISED_STEMS, 2))
#: What the metric says of each kind: right or wrong in stem, direction, joint and magnitude.
GRADES = {
    RejectedKind.WRONG_STEM: (False, True, False, True),
    RejectedKind.WRONG_DIRECTION: (True, False, False, True),
    RejectedKind.WRONG_SIZE: (True, True, True, False),
    RejectedKind.FALSE_ALARM: (False, False, False, False),
    RejectedKind.MISSED_FLAW: (False, False, False, False),
}


def _row(category, target):
    flaw = FLAWS[category]
    return {
        "category": category.value,
        "target": target,
        "direction": flaw.direction.value,
        "min_db": flaw.min_db,
        "max_db": flaw.max_db,
    }


def _all_rejections(category, target, anchor):
    for kind in possible_kinds(category):
        yield from possible_rejections(kind, category, target=target, anchor=anchor)


def _settings(category, target, anchor):
    """Every kind of prompt with every claim."""
    for prompt_category in PromptCategory:
        claims = [None]
        if prompt_category in DESCRIPTIONS:
            claims = possible_claims(prompt_category, category, target=target, anchor=anchor)
        for claim in claims:
            yield {"prompt_category": prompt_category, "claim": claim}


@pytest.mark.parametrize("category", Category)
@pytest.mark.parametrize(("target", "anchor"), PAIRS)
def test_the_metric_tells_chosen_from_rejected(category, target, anchor):
    row = _row(category, target)
    for settings in _settings(category, target, anchor):
        for index in range(prompts.NUM_RESPONSES):
            chosen = prompts.response(index, category, target=target, anchor=anchor, **settings)
            assert all(grade(row, parse_advice(chosen)).values())
            for rejection in _all_rejections(category, target, anchor):
                text = rejection.response(index, anchor=anchor, **settings)
                found = grade(row, parse_advice(text))
                order = ("stem", "direction", "joint", "magnitude")
                assert tuple(found[name] for name in order) == GRADES[rejection.kind], text


@pytest.mark.parametrize("category", Category)
@pytest.mark.parametrize(("target", "anchor"), PAIRS)
def test_rejected_answers_differ_in_one_way(category, target, anchor):
    """Stem, direction and size as the parser reads them: one differs, or the verdict itself."""
    chosen = parse_advice(prompts.response(3, category, target=target, anchor=anchor))
    for rejection in _all_rejections(category, target, anchor):
        rejected = parse_advice(rejection.response(3, anchor=anchor))
        assert (rejected.stem, rejected.direction) == (rejection.stem, rejection.direction)
        assert rejected.stem not in (anchor, "other")
        differs = {
            RejectedKind.WRONG_STEM: chosen.stem != rejected.stem,
            RejectedKind.WRONG_DIRECTION: chosen.direction != rejected.direction,
            RejectedKind.WRONG_SIZE: chosen.min_db != rejected.min_db,
        }
        if rejection.kind in differs:
            assert [kind for kind, is_other in differs.items() if is_other] == [rejection.kind]
        else:
            verdicts = {chosen.direction is Direction.NONE, rejected.direction is Direction.NONE}
            assert verdicts == {True, False}


@pytest.mark.parametrize("index", range(prompts.NUM_RESPONSES))
def test_both_sides_share_the_style(index):
    for (target, anchor), category in product(PAIRS, Category):
        chosen = prompts.response(index, category, target=target, anchor=anchor, reason=1)
        opening = load("responses")[index]["opening"].split("{")[0]
        for rejection in _all_rejections(category, target, anchor):
            text = rejection.response(index, anchor=anchor, reason=1)
            assert text.startswith(opening) and chosen.startswith(opening)
            assert text != chosen


def test_kinds_are_balanced_and_text_alone_tells_nothing():
    """Over an enumeration: a fifth each, and every answer as often chosen as rejected."""
    kinds, chosen, rejected = Counter(), Counter(), Counter()
    for (target, anchor), category in product(PAIRS, Category):
        answer = None if category is Category.NO_ERROR else target
        chosen[anchor, answer, category] += 1
        possible = possible_kinds(category)
        for kind in possible:
            rejections = possible_rejections(kind, category, target=target, anchor=anchor)
            for rejection in rejections:
                share = Fraction(1, len(possible) * len(rejections))
                kinds[kind] += share
                rejected[anchor, rejection.stem, rejection.category] += share
    assert chosen == rejected
    assert set(kinds.values()) == {Fraction(len(PAIRS) * len(Category), 5)}
    assert set(kinds) == set(RejectedKind)


def test_draws_follow_the_stated_shares():
    rng = np.random.default_rng(0)
    draws = [
        draw_rejection(category, rng, target=target, anchor=anchor)
        for _ in range(200)
        for (target, anchor), category in product(PAIRS, Category)
    ]
    counts = Counter(draw.kind for draw in draws)
    assert all(abs(count / len(draws) - 0.2) < 0.02 for count in counts.values())
    alarms = Counter((d.target, d.category) for d in draws if d.kind is RejectedKind.FALSE_ALARM)
    assert len(alarms) == 12 and min(alarms.values()) > 0.6 * max(alarms.values())


def test_a_clip_with_two_advised_stems_has_no_wrong_stem():
    stems = ("bass", "drums")
    for category in Category:
        kinds = possible_kinds(category, stems)
        assert RejectedKind.WRONG_STEM not in kinds and kinds
        for kind in kinds:
            found = possible_rejections(
                kind, category, target="bass", anchor="drums", advised_stems=stems
            )
            assert {rejection.target for rejection in found} == {"bass"}
    with pytest.raises(RecipeError, match=r"wrong_stem.*choose one of wrong_direction"):
        possible_rejections(
            RejectedKind.WRONG_STEM, "loud", target="bass", anchor="drums", advised_stems=stems
        )
