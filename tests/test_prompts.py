"""Laws of the template pools."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixing_buddy import prompts
from mixing_buddy.advice import Advice, parse_advice
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.flaws import FLAWS, Category
from mixing_buddy.stems import ADVISED_STEMS, STEMS

INDICES = range(prompts.NUM_RESPONSES)
PAIRS = list(permutations(ADVISED_STEMS, 2))


def test_the_pools_pass_their_own_check():
    prompts.check_templates()


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("category", Category)
@pytest.mark.parametrize(("target", "anchor"), PAIRS)
def test_responses_parse_back_exactly(index, category, target, anchor):
    text = prompts.response(index, category, target=target, anchor=anchor)
    flaw = FLAWS[category]
    stem = None if category is Category.NO_ERROR else target
    assert parse_advice(text) == Advice(text, stem, flaw.direction, flaw.min_db, flaw.max_db)


@pytest.mark.parametrize(("target", "anchor"), PAIRS)
def test_no_two_responses_are_alike(target, anchor):
    texts = [
        prompts.response(index, category, target=target, anchor=anchor)
        for index in INDICES
        for category in Category
    ]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("anchor", ADVISED_STEMS)
def test_a_balanced_answer_does_not_depend_on_the_target(index, anchor):
    others = [stem for stem in ADVISED_STEMS if stem != anchor]
    texts = {
        prompts.response(index, Category.NO_ERROR, target=target, anchor=anchor)
        for target in others
    }
    (text,) = texts
    assert not any(stem in text for stem in others)


def _shared_prefix(first, second):
    words = zip(first.split(), second.split(), strict=False)
    return next(i for i, (a, b) in enumerate(words) if a != b)


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize(("target", "anchor"), PAIRS)
def test_decisions_come_in_order(index, target, anchor):
    """Balanced or which stem, then the direction, then the size: never the style."""
    texts = {c: prompts.response(index, c, target=target, anchor=anchor) for c in Category}
    split = {frozenset(p): _shared_prefix(texts[p[0]], texts[p[1]]) for p in combinations(texts, 2)}
    opening = split[frozenset((Category.NO_ERROR, Category.QUIET))]
    direction = split[frozenset((Category.QUIET, Category.LOUD))]
    assert opening < direction
    assert direction < split[frozenset((Category.QUIET, Category.VERY_QUIET))]
    assert direction < split[frozenset((Category.LOUD, Category.VERY_LOUD))]
    assert texts[Category.QUIET].split()[opening] == target


@given(
    index=st.integers(0, prompts.NUM_INSTRUCTIONS - 1),
    duration_s=st.floats(0.1, 600.0),
    stems=st.permutations(STEMS).flatmap(lambda s: st.sampled_from([s[:n] for n in (1, 2, 3, 4)])),
    data=st.data(),
)
def test_instructions_name_anchor_stems_and_duration(index, duration_s, stems, data):
    advised = [stem for stem in stems if stem in ADVISED_STEMS]
    if not advised:
        stems, advised = [*stems, "bass"], ["bass"]
    anchor = data.draw(st.sampled_from(advised))
    text = prompts.instruction(index, duration_s=duration_s, stems=stems, anchor=anchor)
    assert all(stem in text for stem in stems)
    assert f"{duration_s:.1f}".removesuffix(".0") + "-second" in text
    assert text.count(anchor.removesuffix("s")) >= 2
    assert "{" not in text and "  " not in text


@pytest.mark.parametrize(
    ("duration_s", "words"),
    [(10.0, "a 10-second"), (5.83, "a 5.8-second"), (8.0, "an 8-second"), (11.5, "an 11.5-second")],
)
def test_durations_read_as_spoken(duration_s, words):
    text = prompts.instruction(3, duration_s=duration_s, stems=["bass", "drums"], anchor="bass")
    assert f"bounced {words} section with bass and drums." in text


def test_verbs_agree_with_the_stem():
    bass = prompts.response(0, Category.QUIET, target="bass", anchor="drums")
    vocals = prompts.response(0, Category.QUIET, target="vocals", anchor="bass")
    assert "the bass sits" in bass and "the vocals sit " in vocals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"index": 10}, "templates 0 to 9"),
        ({"duration_s": float("nan")}, "duration_s"),
        ({"stems": ["bass", "tuba"]}, "tuba"),
        ({"anchor": "other"}, "anchor"),
        ({"stems": ["drums"]}, "bass"),
    ],
)
def test_wrong_instruction_arguments_are_named(arguments, message):
    valid = {"index": 0, "duration_s": 10.0, "stems": STEMS, "anchor": "bass"}
    call = valid | arguments
    with pytest.raises(MixingBuddyError, match=message):
        prompts.instruction(call.pop("index"), **call)


def test_a_stem_is_not_measured_against_itself():
    with pytest.raises(MixingBuddyError, match="bass"):
        prompts.response(0, Category.LOUD, target="bass", anchor="bass")


@pytest.mark.parametrize(
    ("category", "text", "message"),
    [
        ("loud", "{target} {target_is} nice.", "response 3, loud.*parses as"),
        ("loud", "{targett} too loud", "response 3, loud.*can't fill"),
        ("no_error", "vocals are balanced.", "response 3, no_error.*names"),
        ("quiet", "{target} far too low. Raise it by 3 to 6 dB.", "response 3: quiet and very"),
        ("quiet", "poor {target} too low. Raise it by 3 to 6 dB.", "response 3: the stem must"),
        ("quiet", "{target} too low. " + "Well. " * 30, "response 3, quiet: .* words, more than"),
    ],
)  # fmt: skip
def test_the_check_finds_bad_edits(monkeypatch, category, text, message):
    edited = [dict(template) for template in prompts._load("responses")]
    edited[3][category] = text
    original = prompts._load
    monkeypatch.setattr(prompts, "_load", lambda n: edited if n == "responses" else original(n))
    with pytest.raises(MixingBuddyError, match=message):
        prompts.check_templates()
