"""The metric: the oracle scores 100 %, constants score what they must."""

import pytest

from mixing_buddy import prompts
from mixing_buddy.chunks import Chunk
from mixing_buddy.evaluation.grading import summarise
from mixing_buddy.flaws import Category, Direction
from mixing_buddy.recipes import enumerate_recipes
from mixing_buddy.stems import STEMS


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    chunks = [Chunk("here", "test", song, "CC0-1.0", 0.0, 10.0, STEMS) for song in ("A", "B")]
    return [recipe.to_row() for chunk in chunks for recipe in enumerate_recipes(chunk)]


def test_the_oracle_scores_everything(rows):
    report = summarise(rows, [row["response"] for row in rows])
    assert report["num_rows"] == 60
    assert report["num_songs"] == 2
    assert {report[name] for name in ("joint", "stem", "direction", "magnitude")} == {1.0}
    assert set(report["joint_by_category"].values()) == {1.0}
    assert set(report["joint_by_target"].values()) == {1.0}
    assert report["error_detection"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0}


def test_calling_everything_balanced_scores_the_balanced(rows):
    report = summarise(rows, ["No fader needs to move."] * len(rows))
    assert report["joint"] == pytest.approx(0.2)
    assert report["stem"] == pytest.approx(0.2)
    assert report["magnitude"] == 0.0
    assert report["error_detection"] == {"precision": None, "recall": 0.0, "f1": 0.0}


def test_calling_everything_broken_is_never_joint_on_the_balanced(rows):
    answer = prompts.response(0, Category.LOUD, target="bass", anchor="drums")
    report = summarise(rows, [answer] * len(rows))
    assert report["joint_by_category"]["no_error"] == 0.0
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


def test_what_cannot_be_understood_is_wrong(rows):
    report = summarise(rows, ["I like this song."] * len(rows))
    assert report["joint"] == report["stem"] == report["direction"] == 0.0
