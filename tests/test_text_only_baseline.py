"""The text-only baseline, on rows whose leaks are known."""

from __future__ import annotations

from itertools import permutations, product

import pytest

from mixing_buddy import prompts
from mixing_buddy.claims import DESCRIPTIONS, possible_claims
from mixing_buddy.evaluation.reading import text_only_accuracy
from mixing_buddy.flaws import FLAWS, Category
from mixing_buddy.stems import ADVISED_STEMS, STEMS


def _rows(prompt_category="advice_seeking"):
    """An enumeration of all mixes, in all wordings of one kind of prompt."""
    mixes = product(permutations(ADVISED_STEMS, 2), Category, range(prompts.NUM_INSTRUCTIONS))
    for (target, anchor), category, index in mixes:
        claims = [None]
        if prompt_category in DESCRIPTIONS:
            claims = possible_claims(prompt_category, category, target=target, anchor=anchor)
        for claim in claims:
            yield {
                "anchor": anchor,
                "target": target,
                "direction": FLAWS[category].direction.value,
                "prompt_category": prompt_category,
                "claim_stem": claim and claim.stem,
                "claim_direction": claim and claim.direction.value,
                "instruction": prompts.instruction(
                    index,
                    duration_s=10.0,
                    stems=STEMS,
                    anchor=anchor,
                    prompt_category=prompt_category,
                    claim=claim,
                ),
            }


@pytest.mark.parametrize("prompt_category", ["advice_seeking", "audio_only"])
def test_prompts_without_a_claim_leak_nothing_but_the_anchor(prompt_category):
    rows = list(_rows(prompt_category))
    report = text_only_accuracy(rows, rows)
    # Even the whole instruction, learnt by heart: two stems and two directions, or nothing.
    for features in ("anchor", "anchor, instruction"):
        assert report[features] == {"joint": 0.2, "stem": 0.4, "direction": 0.4}
    assert report["claim believed"]["joint"] is None


def test_descriptions_are_worth_as_much_as_they_are_right():
    rows = [*_rows("correct_description"), *_rows("incorrect_description")]
    report = text_only_accuracy(rows, rows)
    believed = report["claim believed"]["joint"]
    assert believed == len(list(_rows("correct_description"))) / len(rows)
    assert (
        report["anchor, kind of prompt, claim"]["joint"] == report["anchor, instruction"]["joint"]
    )


def test_a_leak_is_found():
    rows = [dict(row) for row in _rows()]
    for row in rows:
        row["instruction"] += f" (psst: {row['target']}, {row['direction']})"
    report = text_only_accuracy(rows, rows)
    assert report["anchor"]["joint"] == 0.2
    assert set(report["anchor, instruction"].values()) == {1.0}


def test_unseen_text_falls_back_to_coarser_features():
    rows = list(_rows())
    unseen = [row | {"instruction": "New words."} for row in rows]
    report = text_only_accuracy(rows, unseen)
    assert report["anchor, instruction"] == report["anchor, kind of prompt, claim"]
