from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixing_buddy.chunks import Chunk
from mixing_buddy.errors import RecipeError
from mixing_buddy.flaws import FLAWS, Category, Direction
from mixing_buddy.recipes import Recipe, derive_seed, enumerate_recipes, sample_recipes
from mixing_buddy.stems import ADVISED_STEMS, STEMS


def make_chunk(audible=STEMS, start_s=160.0):
    return Chunk("cc0-songs", "test", "Rubidium", "CC0-1.0", start_s, 10.0, tuple(audible))


def test_a_chunk_with_three_advised_stems_gives_thirty_recipes():
    recipes = list(enumerate_recipes(make_chunk()))
    assert len(recipes) == len({recipe.uid for recipe in recipes}) == 30
    assert "cc0-songs/test/Rubidium/0160s/single_mix/vocals-vs-drums/quiet/0" in {
        recipe.uid for recipe in recipes
    }
    assert set(Counter(recipe.category for recipe in recipes).values()) == {6}
    assert len({recipe.seed for recipe in recipes}) == 30


def test_stems_that_can_not_be_heard_are_neither_target_nor_anchor():
    recipes = list(enumerate_recipes(make_chunk(("bass", "other", "vocals"))))
    assert len(recipes) == 10
    assert {recipe.target for recipe in recipes} == {"bass", "vocals"}
    with pytest.raises(RecipeError, match="a target and an anchor are needed, but only bass"):
        list(sample_recipes(make_chunk(("bass", "other")), 1))


@given(st.integers(0, 2**31), st.floats(0.0, 3.0))
@settings(max_examples=20, deadline=None)
def test_a_recipe_states_the_flaw_that_it_injects(base_seed, tolerance_db):
    chunk = make_chunk()
    for recipe in enumerate_recipes(chunk, base_seed=base_seed, no_error_tolerance_db=tolerance_db):
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
            assert recipe.min_db <= sign * recipe.needed_change_db <= recipe.max_db
        assert Recipe.from_row(recipe.to_row()) == recipe


def test_sampling_is_uniform_and_a_longer_run_begins_with_the_shorter():
    chunk = make_chunk()
    recipes = list(sample_recipes(chunk, 1500))
    assert recipes[:7] == list(sample_recipes(chunk, 7))
    assert len({recipe.uid for recipe in recipes}) == 1500
    for column, kinds in (("category", 5), ("target", 3), ("anchor", 3)):
        counts = Counter(getattr(recipe, column) for recipe in recipes)
        assert len(counts) == kinds
        assert all(abs(count / 1500 - 1 / kinds) < 0.05 for count in counts.values())
    quiet = [recipe.gain_db for recipe in recipes if recipe.category is Category.QUIET]
    assert len(set(quiet)) == len(quiet)


def test_sampled_recipes_are_those_that_enumeration_gives():
    enumerated = {recipe.uid: recipe for recipe in enumerate_recipes(make_chunk())}
    for recipe in sample_recipes(make_chunk(), 1):
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
