"""The metric: the oracle scores 100 %, constants score what they must."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixing_buddy import prompts
from mixing_buddy.advice import Advice
from mixing_buddy.chunks import Chunk
from mixing_buddy.evaluation.bootstrap import SongBootstrap
from mixing_buddy.evaluation.grading import grade, mix_key, summarise
from mixing_buddy.flaws import FLAWS, Category, Direction
from mixing_buddy.recipes import enumerate_recipes
from mixing_buddy.stems import STEMS


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    chunks = [Chunk("here", "test", song, "CC0-1.0", 0.0, 10.0, STEMS) for song in ("A", "B")]
    return [recipe.to_row() for chunk in chunks for recipe in enumerate_recipes(chunk)]


def _leaves(tree):
    for value in tree.values():
        if isinstance(value, dict):
            yield from _leaves(value)
        else:
            yield value


def test_the_oracle_scores_everything(rows):
    report = summarise(rows, [row["response"] for row in rows])
    assert (report.pop("num_rows"), report.pop("num_songs"), report.pop("num_mixes")) == (60, 2, 50)
    intervals = report.pop("intervals")
    for group in report["by"].values():
        assert sum(shares.pop("num_rows") for shares in group.values()) in (60, 48)
    assert set(_leaves(report)) == {1.0, None}
    assert report["by"]["category"]["no_error"]["magnitude"] is None
    assert all(ends in ([1.0, 1.0], None) for ends in _leaves(intervals))


def test_calling_everything_balanced_scores_the_balanced(rows):
    report = summarise(rows, ["No fader needs to move."] * len(rows))
    assert report["joint"] == report["stem"] == pytest.approx(0.2)
    assert report["magnitude"] == 0.0
    assert report["magnitude_given_joint"] is None
    assert report["error_detection"] == {"precision": None, "recall": 0.0, "f1": 0.0}


def test_each_balanced_mix_counts_once_among_distinct_mixes(rows):
    report = summarise(rows, ["No fader needs to move."] * len(rows))["distinct_mixes"]
    # 24 flawed mixes of each song, and its balanced one, which comes six times.
    assert report["joint"] == pytest.approx(1 / 25)
    assert report["no_error"] == 1.0
    called = summarise(rows, ["The bass is too loud."] * len(rows))["distinct_mixes"]
    assert called["error_detection"]["precision"] == pytest.approx(24 / 25)


def test_only_equal_sound_is_a_duplicate(rows):
    keys = [mix_key(row) for row in rows]
    balanced = {mix_key(row) for row in rows if row["category"] == "no_error"}
    assert len(balanced) == 2
    assert all(keys.count(key) == (6 if key in balanced else 1) for key in keys)
    tolerant = [
        recipe.to_row()
        for recipe in enumerate_recipes(
            Chunk("here", "test", "A", "CC0-1.0", 0.0, 10.0, STEMS), no_error_tolerance_db=3.0
        )
    ]
    assert len({mix_key(row) for row in tolerant}) == len(tolerant)


def test_calling_everything_broken_is_never_joint_on_the_balanced(rows):
    answer = prompts.response(0, Category.LOUD, target="bass", anchor="drums")
    report = summarise(rows, [answer] * len(rows))
    assert report["by"]["category"]["no_error"]["joint"] == 0.0
    assert report["direction"] == pytest.approx(0.4)
    assert report["error_detection"]["precision"] == pytest.approx(0.8)
    assert report["error_detection"]["recall"] == 1.0


def test_the_right_stem_the_wrong_way_is_not_joint(rows):
    flawed = [row for row in rows if row["direction"] != Direction.NONE]
    other_way = {Direction.RAISE: "Lower", Direction.LOWER: "Raise"}
    answers = [
        f"{other_way[Direction(row['direction'])]} the {row['target']} by 3 to 6 dB."
        for row in flawed
    ]
    report = summarise(flawed, answers)
    assert (report["stem"], report["direction"], report["joint"]) == (1.0, 0.0, 0.0)
    assert report["magnitude"] == pytest.approx(0.5)
    assert report["magnitude_given_joint"] is None


def test_magnitude_is_conditioned_on_what_was_found(rows):
    flawed = [row for row in rows if row["direction"] != Direction.NONE]
    answers = [
        row["response"] if row["target"] == "bass" else "Raise the other stem by 20 dB."
        for row in flawed
    ]
    report = summarise(flawed, answers)
    assert report["magnitude"] == pytest.approx(1 / 3)
    assert report["magnitude_given_joint"] == 1.0


def test_what_cannot_be_understood_is_wrong(rows):
    report = summarise(rows, ["I like this song."] * len(rows))
    assert report["joint"] == report["stem"] == report["direction"] == report["understood"] == 0.0


@given(
    category=st.sampled_from([each for each in Category if each is not Category.NO_ERROR]),
    ends=st.tuples(st.floats(0, 24), st.floats(0, 24)).map(sorted),
)
def test_a_size_is_right_within_the_true_range(category, ends):
    flaw = FLAWS[category]
    row = {"category": category, "target": "bass", "direction": flaw.direction}
    row |= {"min_db": flaw.min_db, "max_db": flaw.max_db}
    low, high = ends
    tolerance_db = 1e-3
    is_right = flaw.min_db - tolerance_db <= low and high <= flaw.max_db + tolerance_db
    assert grade(row, Advice("", "bass", flaw.direction, low, high))["magnitude"] == is_right
    assert not grade(row, Advice("", "bass", flaw.direction))["magnitude"]


def test_figures_do_not_depend_on_the_order_of_rows(rows):
    answers = [row["response"] if n % 3 else "Lower the bass." for n, row in enumerate(rows)]
    report = summarise(rows, answers, num_resamples=10)
    turned = summarise(rows[::-1], answers[::-1], num_resamples=10)
    del report["intervals"], turned["intervals"]
    assert list(_leaves(report)) == pytest.approx(list(_leaves(turned)), nan_ok=True)
    assert list(report["by"]["category"]) == [str(category) for category in Category]


def test_an_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    songs = np.repeat(np.arange(40), 10)
    covered = 0
    for trial in range(200):
        # Rows of a song share its luck: intervals over rows would be far too narrow.
        of_song = rng.normal(0.5, 0.2, 40)
        values = np.repeat(of_song, 10) + rng.normal(0, 0.05, 400)
        bootstrap = SongBootstrap(list(songs), num_resamples=300, seed=trial)
        low, high = bootstrap.interval(values, np.ones(400))
        covered += low <= 0.5 <= high
    assert 180 <= covered <= 199


@settings(max_examples=30)
@given(hits=st.lists(st.booleans(), min_size=2, max_size=40), seed=st.integers(0, 100))
def test_intervals_hold_the_value_and_are_reproducible(hits, seed):
    songs = [n % 7 for n in range(len(hits))]
    values, ones = np.array(hits, dtype=float), np.ones(len(hits))
    low, high = SongBootstrap(songs, seed=seed).interval(values, ones)
    assert low - 1e-9 <= values.mean() <= high + 1e-9
    assert (low, high) == SongBootstrap(songs, seed=seed).interval(values, ones)
    doubled = SongBootstrap([*songs, *songs], seed=seed)
    twice = np.concatenate([values, values])
    # As many songs as before: rows that only repeat tell nothing new.
    assert doubled.interval(twice, np.ones(len(twice))) == pytest.approx((low, high))
    difference = SongBootstrap(songs, seed=seed).difference_interval(values, ones, values, ones)
    assert difference == (0.0, 0.0)


def test_one_song_has_no_interval():
    bootstrap = SongBootstrap(["A"] * 5)
    assert bootstrap.interval(np.ones(5), np.ones(5)) is None
    assert SongBootstrap(["A", "B"]).interval(np.zeros(2), np.zeros(2)) is None
    assert not any(math.isnan(end) for end in SongBootstrap(["A", "B"]).interval(*np.eye(2)))
