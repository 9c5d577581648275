"""Differential rows whose balanced mix is what several engineers agree on."""

import numpy as np
import pytest
from datasets import load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mixing_buddy.advice import parse_changes
from mixing_buddy.chunks import Chunk
from mixing_buddy.cli import app
from mixing_buddy.consensus.estimate import (
    Consensus,
    ConsensusError,
    EngineerBalance,
    StemConsensus,
    consensus,
    reference_balance,
)
from mixing_buddy.consensus.tables import write_consensus
from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig
from mixing_buddy.dataset_builder.balances import balances_of
from mixing_buddy.dataset_builder.building import BuildSettings, build_dataset
from mixing_buddy.errors import RecipeError, SongError
from mixing_buddy.loudness import db_to_gain, loudness_lufs
from mixing_buddy.recipes import enumerate_recipes
from mixing_buddy.rendering import RenderTransform, render
from mixing_buddy.schema import DIFFERENTIAL, Recipe
from mixing_buddy.stems import STEMS

CHUNK = Chunk("tiny", "train", "Amber", "CC0-1.0", 0.0, 10.0, STEMS)
DIFFERENTIAL_ONLY = BuildSettings(modes=(DIFFERENTIAL,))


def agreed_on(song="Amber", anchor="vocals", quantity="gain", seed=0):
    rng = np.random.default_rng(seed)
    balances = [
        EngineerBalance(song, f"engineer {number}", dict(zip(STEMS, levels_db, strict=True)))
        for number, levels_db in enumerate(rng.normal([-3.0, 2.0, -1.0, 0.0], 2.5, (8, 4)))
    ]
    return consensus(balances, anchor=anchor, quantity=quantity)


def rows_of(agreed, base_seed=0):
    balances = {one.anchor: reference_balance(one) for one in agreed}
    recipes = enumerate_recipes(
        CHUNK, mode=DIFFERENTIAL, base_seed=base_seed, balances=balances, num_references=2
    )
    return [recipe.to_row() for recipe in recipes]


@given(st.integers(0, 2**31), st.sampled_from([*STEMS, "mean"]))
@settings(max_examples=25)
def test_the_advised_change_leads_from_a_to_the_consensus(seed, anchor):
    agreed = agreed_on(anchor=anchor, seed=seed)
    balance = reference_balance(agreed)
    stems = np.random.default_rng(seed).normal(0, 0.1, (4, 2400)).astype(np.float32)
    rows = rows_of([agreed], seed)
    assert 18 <= len(rows) <= 36
    for row in rows:
        recipe = Recipe.from_row(row)
        assert recipe.to_row() == row
        # By the columns: A's gains and the change give the gains agreed on, up to rounding.
        for stem, gain_db in balance.gains_db.items():
            reached_db = row["stem_gains_db"][stem] + row["needed_change_db"][stem]
            assert reached_db == pytest.approx(gain_db, abs=1e-9)
        # By ear: each of A's clips, its stems moved as advised, is the clip of B.
        for a, b in zip(row["audios"][:2], row["audios"][2:], strict=True):
            moved_db = {
                stem: None if gain_db is None else gain_db + row["needed_change_db"][stem]
                for stem, gain_db in a["stem_gains_db"].items()
            }
            assert np.abs(render(stems, moved_db) - render(stems, b["stem_gains_db"])).max() < 1e-4


@given(st.integers(0, 2**31), st.sampled_from([*STEMS, "mean"]))
@settings(max_examples=25)
def test_a_stem_counts_as_changed_where_standing_still_is_outside_its_tolerance(seed, anchor):
    agreed = agreed_on(anchor=anchor, seed=seed)
    for row in rows_of([agreed], seed):
        lows_db, highs_db = row["tolerance_low_db"], row["tolerance_high_db"]
        outside = {stem for stem in STEMS if not lows_db[stem] <= 0.0 <= highs_db[stem]}
        assert len(outside) == row["num_changed_stems"]
        assert outside == set(parse_changes(row["response"])) and row["target"] in outside
        assert row["anchor"] not in outside
        for stem in STEMS:
            needed_db = row["needed_change_db"][stem]
            assert lows_db[stem] - 1e-9 <= needed_db <= highs_db[stem] + 1e-9
            # The estimator's own measure of an answer's error, on the same scale.
            if anchor in STEMS and row["needed_change_db"][anchor] == 0.0:
                for change_db in (0.0, needed_db + 5.0):
                    error_db = max(lows_db[stem] - change_db, change_db - highs_db[stem], 0.0)
                    gain_db = row["stem_gains_db"][stem] + change_db
                    assert agreed.tolerance_error_db(stem, gain_db) == pytest.approx(error_db)


def test_the_tolerance_is_what_the_estimator_says_of_mix_a():
    agreed = agreed_on(anchor="drums")
    balance = reference_balance(agreed)
    for row in rows_of([agreed]):
        needed = balance.needed_from(row["stem_gains_db"])
        # With the anchor where it was; where it was moved, the whole is up or down by that.
        shift_db = row["needed_change_db"]["drums"]
        for stem in STEMS:
            assert row["needed_change_db"][stem] - shift_db == pytest.approx(needed.gains_db[stem])
            for column, ends in (
                ("tolerance_low_db", needed.tolerance_low_db),
                ("tolerance_high_db", needed.tolerance_high_db),
            ):
                assert row[column][stem] - shift_db == pytest.approx(ends[stem])


def test_flaws_that_taste_allows_are_no_samples():
    wide = Consensus(
        "Amber", "other", "gain", {stem: StemConsensus(0.0, -6.0, 6.0, 9) for stem in STEMS}
    )
    rows = rows_of([wide])
    assert {row["category"] for row in rows} == {"very_quiet", "very_loud"}
    all_rows = {row["uid"]: row for row in rows_of([])}
    assert len(rows) < len(all_rows) == 36
    for row in rows:
        without = all_rows[row["uid"]]
        assert (row["seed"], row["gain_db"]) == (without["seed"], without["gain_db"])
        assert without["tolerance_low_db"] == dict.fromkeys(STEMS)


def test_the_balance_of_the_rows_own_anchor_is_taken():
    agreed = {anchor: agreed_on(anchor=anchor) for anchor in ("bass", "drums", "mean")}
    for row in rows_of(agreed.values()):
        anchor = row["anchor"] if row["anchor"] in agreed else "mean"
        b = {
            stem: gain_db
            for clip in row["audios"][2:]
            for stem, gain_db in clip["stem_gains_db"].items()
            if gain_db is not None
        }
        assert b == reference_balance(agreed[anchor]).gains_db


def test_levels_are_brought_to_what_engineers_agree_on():
    rng = np.random.default_rng(0)
    stems = (rng.normal(0, 1, (4, 72_000)) * [[0.1], [0.02], [0.3], [0.05]]).astype(np.float32)
    agreed = agreed_on(quantity="level")
    balance = balances_of({"vocals": agreed}, stems)["vocals"]
    levels_db = {
        stem: loudness_lufs(samples * np.float32(db_to_gain(balance.gains_db[stem])), 24_000)
        for stem, samples in zip(STEMS, stems, strict=True)
    }
    for stem in STEMS:
        relative_db = levels_db[stem] - levels_db["vocals"]
        assert relative_db == pytest.approx(agreed.stems[stem].gain_db, abs=0.01)
    # A silent stem has no level: it stays as it lies, and can't be an anchor.
    stems[STEMS.index("bass")] = 0.0
    silent = balances_of({"vocals": agreed}, stems)["vocals"]
    assert (silent.gains_db["bass"], silent.tolerance_low_db["bass"]) == (0.0, None)
    assert silent.gains_db["drums"] == balance.gains_db["drums"]
    assert balances_of({"bass": agreed_on(anchor="bass", quantity="level")}, stems) == {}


@pytest.mark.parametrize("num_proc", [1, 2])
def test_the_command_builds_from_the_table_and_names_songs_without(song_root, tmp_path, num_proc):
    table = tmp_path / "consensus.parquet"
    agreed = [agreed_on("Amber"), agreed_on("Coral", seed=1), agreed_on("Elsewhere", seed=2)]
    write_consensus(agreed, table)
    out = tmp_path / "out"
    arguments = ["build", song_root, "--out", out, "--mode", "all", "--consensus", table]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(
        app, [str(a) for a in (*arguments, "--num-proc", num_proc)]
    )
    assert result.exit_code == 0, result.output
    assert "no consensus for 1 songs" in result.output and ": Basalt." in result.output
    assert "songs that are not here: Elsewhere" in result.output
    rows = load_dataset(str(out), DIFFERENTIAL, split="train", cache_dir=str(tmp_path / "hf"))
    known = {row["song"]: row["tolerance_low_db"]["bass"] is not None for row in rows}
    assert known == {"Amber": True, "Basalt": False}
    rendered = rows.with_transform(RenderTransform({"tiny": song_root}))[:40]
    for index, clips in enumerate(rendered["clips"]):
        # The target alone: A's clip times the advised gain is B's.
        change_db = rendered["needed_change_db"][index][rendered["target"][index]]
        moved = clips[0] * np.float32(db_to_gain(change_db))
        assert np.abs(moved - clips[2]).max() < 1e-4
    assert "2 of 3 songs" in (out / "README.md").read_text()
    for mode in ("single_mix", "stems", "preference"):
        other = load_dataset(str(out), mode, split="train", cache_dir=str(tmp_path / "hf"))
        assert "tolerance_low_db" not in other.column_names


def test_the_builder_gives_the_same_rows(song_root, tmp_path):
    from mixing_buddy.dataset_builder import MixingBuddyDataset

    table = tmp_path / "consensus.csv"
    write_consensus([agreed_on("Amber")], table)
    given_settings = {"sources": (str(song_root),), "consensus": str(table)}
    build_dataset(MixingBuddyDatasetConfig(**given_settings), tmp_path / "out", DIFFERENTIAL_ONLY)
    builder = MixingBuddyDataset(
        cache_dir=str(tmp_path / "cache"), config_name=DIFFERENTIAL, **given_settings
    )
    builder.download_and_prepare()
    rows = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "hf"))
    assert builder.as_dataset(split="train").to_list() == rows.to_list()
    before = builder.cache_dir
    write_consensus([agreed_on("Amber", seed=5)], table)
    after = MixingBuddyDataset(
        cache_dir=str(tmp_path / "cache"), config_name=DIFFERENTIAL, **given_settings
    )
    assert after.cache_dir != before


def test_a_table_that_is_of_no_use_is_refused_and_leaves_nothing(song_root, tmp_path):
    table, out = tmp_path / "consensus.parquet", tmp_path / "out"
    write_consensus([agreed_on("Elsewhere")], table)

    def build(path, modes=(DIFFERENTIAL,)):
        config = MixingBuddyDatasetConfig(sources=(str(song_root),), consensus=str(path))
        build_dataset(config, out, BuildSettings(modes=modes))

    with pytest.raises(SongError, match=r"consensus of Elsewhere, but of none .*Amber, Basalt"):
        build(table)
    with pytest.raises(ConsensusError, match="no such CSV or Parquet"):
        build(tmp_path / "nowhere.parquet")
    with pytest.raises(RecipeError, match="the mode differential only"):
        build(table, modes=("single_mix",))
    assert not out.exists()
