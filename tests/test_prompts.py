"""Laws of the template pools."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections import Counter
from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mixing_buddy import prompts, template_checks, template_pools
from mixing_buddy.advice import Advice, parse_advice, parse_changes
from mixing_buddy.claims import DESCRIPTIONS, Claim, PromptCategory, possible_claims
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.flaws import FLAWS, Category, Direction
from mixing_buddy.stems import ADVISED_STEMS, STEMS
from mixing_buddy.template_checks import num_shared_words

INDICES = range(prompts.NUM_RESPONSES)
PAIRS = list(permutations(ADVISED_STEMS, 2))


def test_the_pools_pass_their_own_check():
    assert prompts.check_templates() > 5_000


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


EDITS = [
    ("responses", 3, {"loud": "{target} {target_is} nice."}, "3, loud.*parses as"),
    ("responses", 3, {"loud": "{targett} too loud"}, "3, loud.*can't fill"),
    ("responses", 3, {"no_error": "vocals are balanced."}, "3, no_error.*names"),
    ("responses", 3, {"quiet": "{target} far too low. Raise it by 3 to 6 dB."}, "3: quiet and"),
    ("responses", 3, {"quiet": "bad {target} too low. Raise it by 3 to 6 dB."}, "3: the stem must"),
    ("responses", 3, {"quiet": "{target} too low. " + "Well. " * 40}, "3, quiet: .* more than"),
    ("responses_stems", 1, {"raise": "{target} too low. Raise it."}, "1, .*raise: no {size}"),
    ("responses_stems", 1, {"opening": "The {target} against the {anchor}, the"}, "no stem but"),
    ("responses_audio_only", 2, {"opening": "The"}, "must name the anchor"),
    ("responses_description", 4, {"wrong": "no, not the {target}: the"}, "4: must name no stem"),
    ("responses_description", 4, {"wrong": "hear the same: the"}, "4: right and wrong must"),
    ("responses_differential", 5, {"raise": "{stem} {change_db} dB"}, "5.*parses as"),
    ("instructions_description", 6, {"raise": "{claim_is} fine"}, "6: .*parses as"),
    ("instructions_description", 6, {"text": "The {claim} {complaint}."}, "6: doesn't say"),
    ("instructions_differential", 0, {"text": "A to B, {duration}?"}, "0: doesn't say 'bass'"),
]


@pytest.mark.parametrize(("pool", "index", "edit", "message"), EDITS)
def test_the_check_finds_bad_edits(monkeypatch, pool, index, edit, message):
    edited = [dict(template) for template in template_pools.load(pool)]
    edited[index] |= edit

    _replace_pool(monkeypatch, pool, edited)
    with pytest.raises(MixingBuddyError, match=message):
        prompts.check_templates()


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("The words are lost.", "no hedge"),
        ("Words tend to drown in the drums.", "names the drums"),
        ("That low, the groove tends to lose its drive.", "twice"),
    ],
)
def test_the_check_finds_bad_reasons(monkeypatch, reason, message):
    edited = copy.deepcopy(template_pools.load("reasons"))
    edited["vocals"]["raise"][2] = reason
    _replace_pool(monkeypatch, "reasons", edited)
    with pytest.raises(MixingBuddyError, match=message):
        prompts.check_templates()


def _replace_pool(monkeypatch, pool, edited):
    original = template_pools.load

    def load(name):
        return edited if name == pool else original(name)

    for module in (template_pools, prompts, template_checks):
        monkeypatch.setattr(module, "load", load)


SETTINGS = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["single_mix", "stems"]),
        "prompt_category": st.sampled_from(PromptCategory),
    }
)


@given(
    index=st.sampled_from(INDICES),
    category=st.sampled_from(Category),
    pair=st.sampled_from(PAIRS),
    settings=SETTINGS,
    reason=st.none() | st.integers(0, prompts.NUM_REASONS - 1),
    data=st.data(),
)
def test_every_answer_parses_back(index, category, pair, settings, reason, data):
    target, anchor = pair
    claim = None
    if settings["prompt_category"] in DESCRIPTIONS:
        claims = possible_claims(
            settings["prompt_category"], category, target=target, anchor=anchor
        )
        assume(claims)
        claim = data.draw(st.sampled_from(claims))
    text = prompts.response(
        index, category, target=target, anchor=anchor, claim=claim, reason=reason, **settings
    )
    flaw = FLAWS[category]
    stem = None if category is Category.NO_ERROR else target
    assert parse_advice(text) == Advice(text, stem, flaw.direction, flaw.min_db, flaw.max_db)
    assert text[0].isupper() and text.endswith(".")
    assert not re.search(r"[{}]|  | [,.:;]|\.\.", text)


def _description(index, claim, **changes):
    call = {"duration_s": 10.0, "stems": STEMS, "anchor": "drums", "claim": claim}
    call |= {"prompt_category": "incorrect_description"} | changes
    return prompts.instruction(index, **call)


@given(
    index=st.sampled_from(range(prompts.NUM_INSTRUCTIONS)),
    stem=st.sampled_from(["bass", "vocals"]),
    direction=st.sampled_from([Direction.RAISE, Direction.LOWER]),
    mode=st.sampled_from(["single_mix", "stems"]),
)
def test_a_description_reads_back_as_its_claim(index, stem, direction, mode):
    """And says the same whether it is right or wrong: only the ears can tell."""
    claim = Claim(stem, direction)
    text = _description(index, claim, mode=mode)
    advice = parse_advice(text)
    assert (advice.stem, advice.direction) == (stem, direction)
    assert text == _description(index, claim, mode=mode, prompt_category="correct_description")


@pytest.mark.parametrize("category", Category)
@pytest.mark.parametrize(("target", "anchor"), PAIRS)
def test_claims_are_right_or_wrong_in_one_way(category, target, anchor):
    def faults(prompt_category):
        claims = possible_claims(prompt_category, category, target=target, anchor=anchor)
        assert anchor not in {claim.stem for claim in claims}
        return sorted(str(claim.fault(category, target=target)) for claim in claims)

    is_balanced = category is Category.NO_ERROR
    assert faults("correct_description") == ([] if is_balanced else ["None"])
    assert faults("incorrect_description") == (
        ["stem"] * 4 if is_balanced else ["direction", "stem"]
    )
    assert faults("advice_seeking") == []


@pytest.mark.parametrize("index", INDICES)
def test_the_verdict_on_a_claim_comes_before_the_stem(index):
    """Confirmed and corrected answers share the opening and then part at once."""
    claim = Claim("vocals", Direction.RAISE)
    texts = [
        prompts.response(
            index, category, target=target, anchor="drums", claim=claim, prompt_category=kind
        )
        for category, target, kind in (
            (Category.QUIET, "vocals", "correct_description"),
            (Category.LOUD, "vocals", "incorrect_description"),
            (Category.QUIET, "bass", "incorrect_description"),
            (Category.NO_ERROR, "vocals", "incorrect_description"),
        )
    ]
    shared = num_shared_words(texts)
    confirmed, *corrected = texts
    assert all(num_shared_words([confirmed, text]) == shared for text in corrected)
    assert num_shared_words(corrected) > shared
    assert "vocals" not in confirmed.split()[:shared]


def test_the_same_answer_confirms_or_corrects_as_the_claim_goes():
    call = {"target": "vocals", "anchor": "drums", "prompt_category": "correct_description"}
    texts = [
        prompts.response(0, Category.QUIET, claim=Claim(stem, direction), **call)
        for stem, direction in (
            ("vocals", Direction.RAISE),
            ("vocals", Direction.LOWER),
            ("bass", Direction.RAISE),
        )
    ]
    advice = "the vocals are too quiet by a touch. Raise the vocals by 3 to 6 dB."
    assert texts == [
        f"Against the drums, yes: {advice}",
        f"Against the drums, not quite: {advice} Right part, opposite move.",
        f"Against the drums, not quite: {advice} The bass can stay.",
    ]


def test_a_reason_only_adds_a_sentence():
    for index, category in product(INDICES, Category):
        call = {"target": "vocals", "anchor": "bass"}
        plain = prompts.response(index, category, **call)
        texts = [
            prompts.response(index, category, reason=reason, **call)
            for reason in range(prompts.NUM_REASONS)
        ]
        assert len(set(texts)) == prompts.NUM_REASONS
        assert all(text.startswith(f"{plain} ") for text in texts)


def test_reasons_are_drawn_in_their_share():
    rng = np.random.default_rng(0)
    counts = Counter(prompts.draw_reason(rng) for _ in range(4000))
    assert counts.pop(None) / 4000 == pytest.approx(1 - prompts.REASON_SHARE, abs=0.03)
    assert set(counts) == set(range(prompts.NUM_REASONS))
    assert min(counts.values()) > 0.8 * max(counts.values())


@given(
    count=st.integers(0, prompts.NUM_RESPONSES),
    first=st.sampled_from(INDICES),
    category=st.sampled_from(Category),
    pair=st.sampled_from(PAIRS),
)
def test_references_are_distinct_right_answers(count, first, category, pair):
    target, anchor = pair
    texts = prompts.references(count, category, target=target, anchor=anchor, first=first)
    right = prompts.response(first, category, target=target, anchor=anchor)
    assert len(set(texts)) == len(texts) == count
    assert texts[:1] == [right][:count]
    read = [dataclasses.replace(parse_advice(text), text="") for text in (*texts, right)]
    assert len(set(read)) == 1


#: As they are needed, before rounding.
CHANGES = st.dictionaries(st.sampled_from(STEMS), st.floats(-12, 12), max_size=3)


@given(index=st.sampled_from(INDICES), changes_db=CHANGES)
def test_differential_answers_read_back(index, changes_db):
    rounded = {stem: prompts.round_change_db(db) for stem, db in changes_db.items()}
    expected = {stem: db for stem, db in rounded.items() if db}
    assert all(
        abs(db - changes_db[stem]) <= prompts.CHANGE_STEP_DB / 2 for stem, db in rounded.items()
    )
    text = prompts.differential_response(index, changes_db, anchor=None)
    assert parse_changes(text) == expected
    assert (parse_advice(text).direction is Direction.NONE) == (not expected)
    assert ("already matches" in text) == (not expected)
    assert not any(stem in text for stem in set(STEMS) - set(expected))


@pytest.mark.parametrize("anchor", [None, *ADVISED_STEMS])
def test_differential_questions_name_no_part(anchor):
    for index in range(prompts.NUM_INSTRUCTIONS):
        text = prompts.differential_instruction(index, duration_s=5.5, stems=STEMS, anchor=anchor)
        assert "5.5-second" in text
        for stem in STEMS:
            assert text.count(stem.removesuffix("s")) <= (2 if stem == anchor else 1)


def test_differential_references_are_distinct():
    texts = prompts.differential_references(4, {"bass": 3.2}, anchor="drums", first=8)
    assert len(set(texts)) == 4
    assert {tuple(parse_changes(text).items()) for text in texts} == {(("bass", 3.0),)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: prompts.differential_response(0, {"bass": 3.0}, anchor="bass"), "anchor, bass"),
        (lambda: prompts.differential_response(0, {"tuba": 3.0}, anchor=None), "tuba"),
        (lambda: prompts.differential_response(10, {}, anchor=None), "templates 0 to 9"),
        (lambda: _description(0, None), "needs a claim"),
        (lambda: _description(0, Claim("drums", Direction.RAISE)), "anchor 'drums' can't"),
        (lambda: _description(0, Claim("other", Direction.RAISE)), "claimed stem 'other'"),
        (lambda: _description(0, None, prompt_category="chat"), "'chat'.*advice_seeking"),
        (lambda: _description(0, None, mode="solo"), "mode 'solo'"),
        (
            lambda: _description(
                0, None, mode="stems", prompt_category="audio_only", stems=["drums"]
            ),
            "drums alone",
        ),
        (lambda: prompts.references(11, "loud", target="bass", anchor="drums"), "11 references"),
        (lambda: prompts.response(0, "loud", target="bass", anchor="drums", reason=4), "reason 4"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(MixingBuddyError, match=message):
        call()
