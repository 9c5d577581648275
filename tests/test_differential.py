"""Errors of changes in dB: exact answers have none, silence has all of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixing_buddy import prompts
from mixing_buddy.chunks import Chunk
from mixing_buddy.evaluation.baselines import differential_answers
from mixing_buddy.evaluation.differential import (
    confuse_changes,
    grade_changes,
    read_changes,
    size_name,
    summarise_changes,
)
from mixing_buddy.recipes import enumerate_recipes
from mixing_buddy.stems import ADVISED_STEMS, STEMS

_DB = st.integers(-24, 24).map(lambda steps: steps / 2)


def _row(needed: dict[str, float], low=None, high=None, song="A") -> dict:
    needed_db = dict.fromkeys(STEMS, 0.0) | needed
    return {
        "source": "here",
        "split": "test",
        "song": song,
        "start_s": 0.0,
        "anchor": None,
        "stem_gains_db": {stem: -change for stem, change in needed_db.items()},
        "needed_change_db": needed_db,
        "num_changed_stems": len(needed),
        "tolerance_low_db": low,
        "tolerance_high_db": high,
    }


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    chunks = [Chunk("here", "test", song, "CC0-1.0", 0.0, 10.0, STEMS) for song in ("A", "B", "C")]
    return [
        recipe.to_row()
        for chunk in chunks
        for recipe in enumerate_recipes(chunk, mode="differential")
    ]


def test_exact_answers_have_no_error():
    needed = [{"bass": 3.0}, {"vocals": -6.5, "drums": 4.0}, {"drums": -12.0, "bass": 9.5}]
    exact = [_row(each, song=str(place)) for place, each in enumerate(needed)]
    answers = [prompts.differential_response(0, each, anchor=None) for each in needed]
    report = summarise_changes(exact, answers, num_resamples=20)
    assert report["joint"] == report["move_precision"] == report["move_recall"] == 1.0
    assert report["error_db"] == report["changed_error_db"] == 0.0
    assert report["by"]["num_changed"]["2"]["changed_error_db"] == 0.0


def test_the_oracle_is_off_by_its_rounding_alone(rows):
    report = summarise_changes(rows, [row["response"] for row in rows], num_resamples=50)
    assert report["joint"] == report["understood"] == 1.0
    assert 0 < report["changed_error_db"] <= prompts.CHANGE_STEP_DB / 2
    assert report["num_songs"] == 3


def test_no_change_is_off_by_all_that_is_needed(rows):
    answers = differential_answers("constant: no change", rows)
    report = summarise_changes(rows, answers, num_resamples=50)
    sizes = [abs(change) for row in rows for change in row["needed_change_db"].values() if change]
    assert report["joint"] == report["move_recall"] == 0.0
    assert report["move_precision"] is None
    assert report["changed_error_db"] == pytest.approx(sum(sizes) / len(sizes))
    assert report["error_db"] == pytest.approx(sum(sizes) / (4 * len(rows)))


def test_nonsense_counts_as_no_change_and_is_not_understood(rows):
    nonsense = summarise_changes(rows, ["I like this song."] * len(rows), num_resamples=50)
    still = summarise_changes(
        rows, differential_answers("constant: no change", rows), num_resamples=50
    )
    assert (nonsense["understood"], still["understood"]) == (0.0, 1.0)
    assert nonsense["error_db"] == still["error_db"]
    balanced = _row({})
    assert grade_changes(balanced, read_changes("A already matches B."))["joint"]
    assert not grade_changes(balanced, read_changes("I like this song."))["joint"]


def test_the_wrong_way_is_no_joint_and_twice_the_error():
    row = _row({"bass": 4.0})
    graded = grade_changes(row, {"bass": -4.0})
    assert not graded["joint"]
    assert graded["error_db"]["bass"] == 8.0
    assert not grade_changes(row, {"bass": 4.0, "drums": 1.0})["joint"]
    assert grade_changes(row, {"bass": 11.0})["joint"]


@given(
    needed=st.dictionaries(st.sampled_from(ADVISED_STEMS), _DB),
    advised=st.dictionaries(st.sampled_from(STEMS), _DB),
    widths=st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), min_size=4, max_size=4),
)
def test_the_consensus_error_is_never_larger(needed, advised, widths):
    needed_db = dict.fromkeys(STEMS, 0.0) | needed
    low = {stem: needed_db[stem] - width[0] for stem, width in zip(STEMS, widths, strict=True)}
    high = {stem: needed_db[stem] + width[1] for stem, width in zip(STEMS, widths, strict=True)}
    graded = grade_changes(_row(needed, low, high), advised)
    for stem in STEMS:
        assert 0 <= graded["consensus_error_db"][stem] <= graded["error_db"][stem]
        if low[stem] <= advised.get(stem, 0.0) <= high[stem]:
            assert graded["consensus_error_db"][stem] == 0.0
    unknown = dict.fromkeys(STEMS)
    pointwise = grade_changes(_row(needed, unknown, unknown), advised)
    assert pointwise["consensus_error_db"] == pointwise["error_db"] == graded["error_db"]


def test_groups_and_lines_hold_every_row(rows):
    answers = [row["response"] for row in rows]
    report = summarise_changes(rows, answers, num_resamples=20)
    for name in ("num_changed", "size", "song"):
        assert sum(each["num_rows"] for each in report["by"][name].values()) == len(rows)
    found = confuse_changes(rows, answers)
    assert sum(map(sum, found["counts"])) == len(rows) * len(STEMS)
    for line, counts in zip(found["truth"], found["counts"], strict=True):
        right = found["answered"].index(line.split()[1])
        assert sum(counts) == counts[right]


def test_every_size_lies_in_one_range():
    sizes = {3.0: "3 to 4.5 dB", 6.0: "6 to 9 dB", 12.0: "9 to 12 dB", 13.0: "over 12 dB"}
    assert {size: size_name(_row({"bass": -size})) for size in sizes} == sizes
