"""Levels of stems, listeners who know them, and the baselines built on these."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from mixing_buddy.advice import parse_advice, parse_changes
from mixing_buddy.chunks import Chunk
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.evaluation import levels as levels_module
from mixing_buddy.evaluation.baselines import (
    BASELINES,
    Heard,
    baseline_answers,
    baseline_posteriors,
    compare_baselines,
    differential_answers,
    hear,
    verdict_text,
)
from mixing_buddy.evaluation.ceiling import (
    BayesListener,
    LoudnessRule,
    boosted_listener,
    logistic_listener,
)
from mixing_buddy.evaluation.levels import MEASURES, LevelMeter, flawed_levels
from mixing_buddy.evaluation.verdicts import VERDICTS, decide, possible_verdicts, true_verdicts
from mixing_buddy.flaws import FLAWS, Category
from mixing_buddy.loudness import loudness_lufs, rms_dbfs
from mixing_buddy.prompts import CHANGE_STEP_DB
from mixing_buddy.recipes import sample_recipes
from mixing_buddy.rendering import RenderTransform
from mixing_buddy.songs import SAMPLE_RATE
from mixing_buddy.stems import ADVISED_STEMS, STEMS

USUAL_LUFS = np.array([-22.0, -22.5, -23.0, -20.0])


def _rows(num_songs, split="train", num_rows=40, **settings):
    chunks = [
        Chunk("here", split, f"{split} {n}", "CC0-1.0", 0.0, 10.0, STEMS) for n in range(num_songs)
    ]
    recipes = [each for chunk in chunks for each in sample_recipes(chunk, num_rows, **settings)]
    return [recipe.to_row() for recipe in recipes]


def _simulate(rows, spread_db, seed=0):
    """Songs whose stems vary around the usual balance, each song as loud as it likes."""
    rng = np.random.default_rng(seed)
    songs = list(dict.fromkeys(row["song"] for row in rows))
    of_song = (
        USUAL_LUFS + rng.normal(0, spread_db, (len(songs), 4)) + rng.normal(0, 3, (len(songs), 1))
    )
    balanced = of_song[[songs.index(row["song"]) for row in rows]]
    balanced = np.repeat(balanced[:, :, None], len(MEASURES), axis=2)
    return Heard(rows, flawed_levels(rows, balanced), balanced)


@pytest.fixture(scope="module")
def train():
    return _simulate(_rows(100), 1.5)


@pytest.fixture(scope="module")
def test():
    return _simulate(_rows(60, "test"), 1.5, seed=1)


def test_levels_are_those_of_the_stems_with_their_gains(song_root, tmp_path):
    chunk = Chunk("tiny", "train", "Amber", "CC0-1.0", 10.0, 10.0, STEMS)
    rows = [recipe.to_row() for recipe in sample_recipes(chunk, 6)]
    heard = hear(rows, LevelMeter({"tiny": song_root}, tmp_path / "levels"))
    stems = RenderTransform({"tiny": song_root}).row_stems(rows[0])
    for row, levels in zip(rows, heard.levels, strict=True):
        for stem, samples, (rms, loudness) in zip(STEMS, stems, levels, strict=True):
            louder = samples * 10 ** (row["stem_gains_db"][stem] / 20)
            assert rms == pytest.approx(rms_dbfs(louder), abs=1e-4)
            assert loudness == pytest.approx(loudness_lufs(louder, SAMPLE_RATE), abs=0.01)


def test_a_chunk_is_measured_once(song_root, tmp_path, monkeypatch):
    chunk = Chunk("tiny", "train", "Amber", "CC0-1.0", 0.0, 10.0, STEMS)
    rows = [recipe.to_row() for recipe in sample_recipes(chunk, 3)]
    first = LevelMeter({"tiny": song_root}, tmp_path / "levels").balanced_levels(rows)
    monkeypatch.setattr(levels_module, "rms_dbfs", None)  # calling it would fail
    again = LevelMeter({"tiny": song_root}, tmp_path / "levels").balanced_levels(rows)
    assert np.array_equal(first, again)


def test_silent_stems_have_no_level(write_song, tmp_path):
    write_song(tmp_path / "songs" / "train" / "Quiet", silent=("bass",))
    sounding = ("drums", "other", "vocals")
    chunk = Chunk("songs", "train", "Quiet", "CC0-1.0", 0.0, 10.0, sounding)
    rows = [recipe.to_row() for recipe in sample_recipes(chunk, 8)]
    heard = hear(rows, LevelMeter({"songs": tmp_path / "songs"}, tmp_path / "levels"))
    assert np.isnan(heard.levels[:, STEMS.index("bass")]).all()
    assert not np.isnan(heard.levels[:, [1, 2, 3]]).any()
    allowed = possible_verdicts(rows, heard.levels)
    assert not any(allowed[:, n].any() for n, v in enumerate(VERDICTS) if v and v[0] == "bass")
    assert allowed[np.arange(len(rows)), true_verdicts(rows)].all()


def test_posteriors_are_those_of_numeric_integration(train, test):
    listener = BayesListener().fit(train.rows, train.balanced_levels)
    rows, levels = test.rows[:20], test.levels[:20]
    posteriors = listener.posteriors(rows, levels)
    loudness = train.balanced_levels[::40, :, 1]
    covariance = np.cov(loudness.T) + 100.0**2 + 0.01 * np.eye(4)
    precision, shares = np.linalg.inv(covariance), [r["category"] for r in train.rows]
    for row, heard, posterior in zip(rows, levels[..., 1], posteriors, strict=True):
        weights = []
        for verdict in VERDICTS:
            stem, category = verdict or ("bass", Category.NO_ERROR)
            if stem == row["anchor"] and verdict:
                weights.append(0.0)
                continue
            flaw = FLAWS[category]
            gains = np.linspace(flaw.min_gain_db, flaw.max_gain_db, 2001)
            deviations = np.tile(heard - loudness.mean(axis=0), (len(gains), 1))
            deviations[:, STEMS.index(stem)] -= gains
            densities = np.exp(-np.einsum("gi,ij,gj->g", deviations, precision, deviations) / 2)
            share = shares.count(category) / len(shares)
            weights.append(np.trapezoid(densities) / 2000 * share / (2 if verdict else 1))
            if verdict is None:
                weights[-1] = densities[0] * share
        assert posterior == pytest.approx(np.array(weights) / sum(weights), abs=1e-3)


def test_posteriors_are_calibrated(train, test):
    posteriors = baseline_posteriors("ceiling", train, test)
    assert posteriors.sum(axis=1) == pytest.approx(np.ones(len(test.rows)))
    right = posteriors[np.arange(len(test.rows)), true_verdicts(test.rows)]
    # Where a listener is honest, it is right as often as it expects to be.
    expected = (posteriors**2).sum(axis=1).mean()
    assert right.mean() == pytest.approx(expected, abs=0.03)


def test_nobody_beats_the_ceiling(train, test):
    reports = compare_baselines(train, test)
    assert list(reports) == list(BASELINES)
    joint = {name: report["joint"] for name, report in reports.items()}
    assert joint["oracle"] == 1.0
    assert 0.75 < joint["ceiling"] < 0.92  # 1.5 dB of taste cost about 16 points
    simple = [name for name in BASELINES if name.startswith("constant")]
    for name in (*simple, "text", "loudness rule", "logistic regression", "gradient boosting"):
        assert joint[name] < joint["ceiling"] + 0.015
    assert joint["text"] < 0.45 < joint["loudness rule"]
    assert joint["ceiling, reading"] > joint["ceiling"]
    assert joint["constant: balanced"] == pytest.approx(
        np.mean([row["category"] == "no_error" for row in test.rows])
    )
    assert all(report["understood"] == 1.0 for report in reports.values())


def test_without_taste_the_ceiling_is_everything():
    train, test = _simulate(_rows(20), 0.0), _simulate(_rows(10, "test"), 0.0, seed=1)
    assert compare_baselines(train, test, ["ceiling"])["ceiling"]["joint"] == 1.0


def test_a_tolerance_of_balanced_mixes_is_learnt():
    def simulate(count, split, seed):
        rows = _rows(count, split, no_error_tolerance_db=3.0)
        return _simulate(rows, 0.2, seed)

    train, test = simulate(60, "train", 0), simulate(30, "test", 1)
    report = compare_baselines(train, test, ["ceiling"])["ceiling"]
    # Gains of -3 to 3 dB next to those of 3 to 6: only close to 3 dB is there doubt.
    assert report["by"]["category"]["no_error"]["joint"] > 0.85
    assert report["joint"] > 0.9


def test_the_rule_learns_a_threshold_between_balanced_and_flawed(train):
    rule = LoudnessRule().fit(train.rows, train.levels, train.balanced_levels)
    assert 1.0 < rule.threshold_db < 4.5


@pytest.mark.parametrize("verdict", VERDICTS)
@pytest.mark.parametrize("anchor", [None, *ADVISED_STEMS])
def test_verdicts_read_back(verdict, anchor):
    advice = parse_advice(verdict_text(verdict, anchor))
    flaw = FLAWS[verdict[1] if verdict else Category.NO_ERROR]
    assert (advice.stem, advice.direction) == (verdict and verdict[0], flaw.direction)
    assert (advice.min_db, advice.max_db) == (flaw.min_db, flaw.max_db)


def test_deciding_adds_up_sizes():
    posteriors = np.zeros((1, len(VERDICTS)))
    posteriors[0, 0] = 0.4
    posteriors[0, VERDICTS.index(("bass", Category.LOUD))] = 0.25
    posteriors[0, VERDICTS.index(("bass", Category.VERY_LOUD))] = 0.35
    assert decide(posteriors) == [("bass", Category.VERY_LOUD)]


def test_what_is_asked_for_wrongly_is_said(train, test):
    with pytest.raises(MixingBuddyError, match="choose from"):
        baseline_answers("clairvoyant", train, test)
    nothing = Heard([], train.levels[:0], train.balanced_levels[:0])
    with pytest.raises(MixingBuddyError, match="training rows"):
        baseline_answers("ceiling", nothing, test)
    one_song = Heard(train.rows[:3], train.levels[:3], train.balanced_levels[:3])
    with pytest.raises(MixingBuddyError, match="fewer than two"):
        baseline_answers("ceiling", one_song, test)


def test_differential_changes_are_heard_to_half_a_step():
    chunk = Chunk("here", "test", "A", "CC0-1.0", 0.0, 10.0, STEMS)
    rows = [r.to_row() for r in sample_recipes(chunk, 60, mode="differential")]

    def errors_db(name):
        read = [parse_changes(answer) for answer in differential_answers(name, rows)]
        return np.array(
            [
                [abs(changes.get(s, 0.0) - row["needed_change_db"][s]) for s in ADVISED_STEMS]
                for changes, row in zip(read, rows, strict=True)
            ]
        )

    assert errors_db("ceiling").max() <= CHANGE_STEP_DB / 2 + 1e-9
    nothing, target_only = errors_db("constant: no change"), errors_db("target only")
    assert errors_db("ceiling").mean() < target_only.mean() < nothing.mean()
    one_changed = [row["num_changed_stems"] == 1 for row in rows]
    assert target_only[one_changed].max() <= CHANGE_STEP_DB / 2 + 1e-9
    with pytest.raises(MixingBuddyError, match="choose from"):
        differential_answers("oracle", rows)


def test_the_command_prints_every_kind_of_baseline(song_root, tmp_path):
    from typer.testing import CliRunner

    from mixing_buddy.cli import app

    runner = CliRunner()
    built = runner.invoke(
        app,
        ["build", str(song_root), "--out", str(tmp_path / "rows"), "--sampling", "sample",
         "--samples-per-chunk", "20"],
    )  # fmt: skip
    assert built.exit_code == 0, built.output
    out = tmp_path / "report.json"
    done = runner.invoke(
        app, ["baselines", str(tmp_path / "rows"), "--songs", str(song_root), "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    for name in ("constant: balanced", "text", "loudness rule", "ceiling, reading"):
        assert name in done.output
    reports = json.loads(out.read_text())
    assert list(reports) == list(BASELINES)
    # All these songs have the same balance.
    assert reports["ceiling"]["joint"] == 1.0


@pytest.mark.parametrize("listener", [boosted_listener, logistic_listener])
def test_a_missing_library_names_its_extra(listener, monkeypatch):
    for name in ("sklearn", "sklearn.ensemble"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MixingBuddyError, match=r"mixing-buddy\[evaluation\]"):
        listener()
