from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixing_buddy.advice import parse_advice, parse_changes
from mixing_buddy.chunks import Chunk
from mixing_buddy.conversations import to_template, with_clips
from mixing_buddy.errors import RecipeError
from mixing_buddy.evaluation.grading import grade
from mixing_buddy.flaws import FLAWS, Category, Direction
from mixing_buddy.labels import LABELS, decode_labels
from mixing_buddy.preferences import RejectedKind
from mixing_buddy.recipes import derive_seed, enumerate_recipes, sample_recipes
from mixing_buddy.schema import MODES, PREFERENCE_COLUMNS, Recipe
from mixing_buddy.stems import ADVISED_STEMS, STEMS

base_seeds = st.integers(0, 2**31)


def make_chunk(audible=STEMS, start_s=160.0):
    return Chunk("cc0-songs", "test", "Rubidium", "CC0-1.0", start_s, 10.0, tuple(audible))


def rows_of(mode, base_seed=0, audible=STEMS, **settings):
    chunk = make_chunk(audible)
    recipes = enumerate_recipes(chunk, mode=mode, base_seed=base_seed, **settings)
    return [recipe.to_row() for recipe in recipes]


@pytest.mark.parametrize(("mode", "three", "two"), [("single_mix", 30, 10), ("stems", 30, 10),
                                                    ("differential", 36, 16),
                                                    ("preference", 30, 10)])  # fmt: skip
def test_every_combination_is_there_once(mode, three, two):
    recipes = list(enumerate_recipes(make_chunk(), mode=mode))
    assert len(recipes) == len({recipe.uid for recipe in recipes}) == three
    assert len({recipe.seed for recipe in recipes}) == three
    assert len(rows_of(mode, audible=("bass", "other", "vocals"))) == two
    kinds = Counter(recipe.category for recipe in recipes)
    assert set(kinds.values()) == ({9} if mode == "differential" else {6})


def test_uids_and_gains_are_those_of_ever():
    rows = {row["uid"]: row for row in rows_of("single_mix")}
    row = rows["cc0-songs/test/Rubidium/0160s/single_mix/vocals-vs-drums/quiet/0"]
    assert row["seed"] == derive_seed(0, row["uid"])
    assert row["gain_db"] == pytest.approx(-5.362886315156518, abs=1e-12)


def test_stems_that_can_not_be_heard_are_neither_target_nor_anchor():
    for mode in MODES:
        rows = rows_of(mode, audible=("bass", "other", "vocals"))
        assert {row["target"] for row in rows} == {"bass", "vocals"}
        assert {row["anchor"] for row in rows} <= {"bass", "vocals", None}
        assert all(row["stem_gains_db"]["drums"] == 0.0 for row in rows)
    with pytest.raises(RecipeError, match="a target and an anchor are needed, but only bass"):
        list(sample_recipes(make_chunk(("bass", "other")), 1))


@given(base_seeds, st.floats(0.0, 3.0), st.sampled_from(["single_mix", "stems", "preference"]))
@settings(max_examples=20)
def test_a_recipe_states_the_flaw_that_it_injects(base_seed, tolerance_db, mode):
    chunk = make_chunk()
    recipes = enumerate_recipes(
        chunk, mode=mode, base_seed=base_seed, no_error_tolerance_db=tolerance_db
    )
    for recipe in recipes:
        flaw = FLAWS[recipe.category]
        assert recipe.target in ADVISED_STEMS and recipe.anchor in ADVISED_STEMS
        assert recipe.target != recipe.anchor
        assert recipe.stem_gains_db == dict.fromkeys(STEMS, 0.0) | {recipe.target: recipe.gain_db}
        assert recipe.direction == flaw.direction
        if recipe.category is Category.NO_ERROR:
            assert abs(recipe.gain_db) <= tolerance_db
            assert recipe.min_db is recipe.max_db is None
        else:
            sign = 1 if recipe.direction is Direction.RAISE else -1
            change_db = recipe.needed_change_db[recipe.target]
            assert recipe.min_db <= sign * change_db <= recipe.max_db
        assert Recipe.from_row(recipe.to_row()) == recipe
        assert all(grade(recipe.to_row(), parse_advice(recipe.response)).values())


@given(base_seeds, st.sampled_from([STEMS, ("bass", "other", "vocals")]))
@settings(max_examples=20)
def test_differential_changes_one_to_three_stems_and_says_which(base_seed, audible):
    rows = rows_of("differential", base_seed, audible)
    numbers = Counter(row["num_changed_stems"] for row in rows)
    assert set(numbers) == ({1, 2, 3} if audible == STEMS else {1, 2})
    assert len(set(numbers.values())) == 1
    for row in rows:
        changed = {stem: db for stem, db in row["needed_change_db"].items() if db}
        assert len(changed) == row["num_changed_stems"]
        assert row["target"] in changed and row["anchor"] not in changed
        assert all(3.0 <= abs(db) <= 12.0 for db in changed.values())
        assert (row["anchor"] is None) == (len(changed) == len(set(audible) - {"other"}))
        told = parse_changes(row["response"])
        assert told.keys() == changed.keys()
        assert all(abs(told[stem] - db) <= 0.25 + 1e-9 for stem, db in changed.items())
        for stem, gain_db in row["stem_gains_db"].items():
            assert gain_db + row["needed_change_db"][stem] == 0.0


@given(base_seeds)
@settings(max_examples=20)
def test_the_metric_scores_chosen_one_and_rejected_zero(base_seed):
    for row in rows_of("preference", base_seed):
        assert row["chosen"] == row["response"] != row["rejected"]
        assert all(grade(row, parse_advice(row["chosen"])).values())
        rejected = parse_advice(row["rejected"])
        grades = grade(row, rejected)
        assert not all(grades.values())
        wrong = {name for name in ("stem", "direction", "magnitude") if not grades[name]}
        assert {
            "wrong_stem": wrong == {"stem"},
            "wrong_direction": wrong == {"direction"},
            "wrong_size": wrong == {"magnitude"},
            "false_alarm": row["category"] == "no_error" and rejected.stem is not None,
            "missed_flaw": rejected.direction is Direction.NONE,
        }[row["rejected_kind"]]
        assert rejected.stem not in (row["anchor"], "other")
        assert (rejected.stem, rejected.direction) == (
            row["rejected_stem"],
            row["rejected_direction"],
        )


@pytest.mark.parametrize(
    ("audible", "shares"),
    [
        (STEMS, dict.fromkeys(RejectedKind, 0.2)),
        (
            ("bass", "other", "vocals"),
            {"wrong_direction": 0.3, "wrong_size": 0.3, "false_alarm": 0.2, "missed_flaw": 0.2},
        ),
    ],
)
def test_kinds_of_rejection_have_their_shares_and_no_answer_tells_which_it_is(audible, shares):
    rows = [row for seed in range(80) for row in rows_of("preference", seed, audible)]
    kinds = Counter(row["rejected_kind"] for row in rows)
    assert kinds.keys() == shares.keys()
    assert all(abs(kinds[kind] / len(rows) - share) < 0.035 for kind, share in shares.items())
    chosen, rejected = (
        Counter(parse_advice(row[column]).direction for row in rows)
        for column in ("chosen", "rejected")
    )
    for direction in Direction:
        assert abs(chosen[direction] - rejected[direction]) / len(rows) < 0.035


def test_kinds_of_prompt_come_in_the_stated_shares_and_tell_nothing_of_balance():
    rows = [row for seed in range(100) for row in rows_of("single_mix", seed)]
    kinds = Counter(row["prompt_category"] for row in rows)
    shares = {"advice_seeking": 0.4, "audio_only": 0.2, "correct_description": 0.2,
              "incorrect_description": 0.2}  # fmt: skip
    assert kinds.keys() == shares.keys()
    assert all(abs(kinds[kind] / len(rows) - share) < 0.025 for kind, share in shares.items())
    described = [row for row in rows if row["claim_stem"] is not None]
    balanced = sum(row["category"] == "no_error" for row in described) / len(described)
    assert abs(balanced - 0.2) < 0.03
    faults = Counter(
        row["claim_fault"]
        for row in described
        if row["category"] != "no_error" and row["prompt_category"] == "incorrect_description"
    )
    assert set(faults) == {"stem", "direction"}
    assert abs(faults["stem"] / sum(faults.values()) - 0.5) < 0.08


@given(base_seeds, st.sampled_from(["single_mix", "stems"]))
@settings(max_examples=10)
def test_claims_are_right_or_wrong_in_the_one_way_stated(base_seed, mode):
    for row in rows_of(mode, base_seed):
        claim = (row["claim_stem"], row["claim_direction"])
        truth = (row["target"], row["direction"])
        kind = row["prompt_category"]
        if kind in ("advice_seeking", "audio_only"):
            assert claim == (None, None) and row["claim_fault"] is None
        elif kind == "correct_description":
            assert claim == truth and row["claim_fault"] is None
        elif row["claim_fault"] == "direction":
            assert claim[0] == truth[0] and claim[1] != truth[1]
        else:
            assert row["category"] == "no_error" or claim[0] not in (truth[0], row["anchor"])


def test_modes_with_one_flaw_are_made_in_pairs():
    columns = ("target", "anchor", "category", "stem_gains_db", "seed")
    singles, stems, pairs = (
        [[row[column] for column in columns] for row in rows_of(mode)]
        for mode in ("single_mix", "stems", "preference")
    )
    assert singles == stems == pairs


@pytest.mark.parametrize("mode", MODES)
def test_references_are_different_right_answers(mode):
    assert all(row["references"] == [] for row in rows_of(mode))
    for row in rows_of(mode, num_references=4):
        assert len(set(row["references"])) == 4
        for text in row["references"]:
            if mode == "differential":
                assert parse_changes(text) == parse_changes(row["response"])
            else:
                assert all(grade(row, parse_advice(text)).values())
        assert row["response"].startswith(row["references"][0].split(".")[0])


@pytest.mark.parametrize("mode", MODES)
def test_messages_keep_a_place_for_each_clip(mode):
    for row in rows_of(mode):
        assert set(PREFERENCE_COLUMNS) <= set(row) or mode != "preference"
        clips = [object() for _ in row["audios"]]
        messages = with_clips(row["messages"], clips)
        assert [message["role"] for message in messages] == ["system", "user", "assistant"]
        parts = messages[1]["content"]
        assert [part["audio"] for part in parts if part["type"] == "audio"] == clips
        assert [part["text"] for part in parts if part["type"] == "text"] == [row["instruction"]]
        assert messages[2]["content"] == [{"type": "text", "text": row["response"]}]
    with pytest.raises(RecipeError, match="0 clips for messages with"):
        with_clips(row["messages"], [])
    assert [part["type"] for part in to_template(2, "")[1]["content"]] == ["audio", "audio"]


@pytest.mark.parametrize("mode", MODES)
def test_sampling_is_uniform_and_a_longer_run_begins_with_the_shorter(mode):
    chunk = make_chunk()
    recipes = list(sample_recipes(chunk, 1500, mode=mode))
    assert recipes[:7] == list(sample_recipes(chunk, 7, mode=mode))
    assert len({recipe.uid for recipe in recipes}) == 1500
    kinds = {"category": 4 if mode == "differential" else 5, "target": 3}
    for column, number in kinds.items():
        counts = Counter(getattr(recipe, column) for recipe in recipes)
        assert len(counts) == number
        assert all(abs(count / 1500 - 1 / number) < 0.05 for count in counts.values())
    quiet = [recipe.gain_db for recipe in recipes if recipe.category is Category.QUIET]
    assert len(set(quiet)) == len(quiet)


@pytest.mark.parametrize("mode", MODES)
def test_sampled_recipes_are_those_that_enumeration_gives(mode):
    enumerated = {recipe.uid: recipe for recipe in enumerate_recipes(make_chunk(), mode=mode)}
    for recipe in sample_recipes(make_chunk(), 1, mode=mode):
        assert enumerated[recipe.uid] == recipe


def test_base_seed_changes_gains():
    def gains(seed):
        return [recipe.gain_db for recipe in enumerate_recipes(make_chunk(), base_seed=seed)]

    assert gains(0) == gains(0)
    assert gains(0) != gains(1)


def test_seeds_are_alike_in_another_process():
    code = "from mixing_buddy.recipes import derive_seed; print(derive_seed(3, 'a', 'b'))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) == derive_seed(3, "a", "b")
    assert derive_seed(3, "a", "b") != derive_seed(3, "ab") != derive_seed(4, "ab")


def test_rows_that_are_no_recipe_are_refused():
    row = next(enumerate_recipes(make_chunk())).to_row()
    with pytest.raises(RecipeError, match="no column target"):
        Recipe.from_row({name: value for name, value in row.items() if name != "target"})
    with pytest.raises(RecipeError, match="'deafening'"):
        Recipe.from_row(row | {"category": "deafening"})
    assert Recipe.from_row(row | {"audio": [0.0]}).uid == row["uid"]
    with pytest.raises(RecipeError, match="Unknown mode 'duet'"):
        list(enumerate_recipes(make_chunk(), mode="duet"))


def test_labels_decode_to_names_whether_numbers_or_names():
    row = next(enumerate_recipes(make_chunk())).to_row()
    numbers = row | {c: names.index(row[c]) for c, names in LABELS.items() if c in row}
    assert numbers != row
    assert decode_labels(numbers) == decode_labels(row) == row
    batch = {"category": [0, None, "loud"], "other": [0]}
    assert decode_labels(batch) == {"category": ["very_quiet", None, "loud"], "other": [0]}
