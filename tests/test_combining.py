"""Combining answers on windows: the explanation that fits them best."""

import pytest

from mixing_buddy.advice import Advice
from mixing_buddy.combining import WindowAdvice, combine
from mixing_buddy.flaws import FLAWS, Category, Direction
from mixing_buddy.stems import ADVISED_STEMS

BALANCED = Advice("All good.", direction=Direction.NONE)
FLAWED = [category for category in Category if category is not Category.NO_ERROR]


def advice(stem: str, category: Category) -> Advice:
    flaw = FLAWS[category]
    return Advice(f"{stem} is {category}", stem, flaw.direction, flaw.min_db, flaw.max_db)


def window(anchor: str, said: Advice, stems=ADVISED_STEMS) -> WindowAdvice:
    return WindowAdvice(0.0, 10.0, anchor, tuple(stems), said)


def opposite(category: Category) -> Category:
    order = list(Category)
    return order[len(order) - 1 - order.index(category)]


@pytest.mark.parametrize("category", FLAWED)
@pytest.mark.parametrize("stem", ADVISED_STEMS)
def test_right_answers_give_the_flaw_whatever_the_anchors(stem, category):
    others = [other for other in ADVISED_STEMS if other != stem]
    windows = [window(other, advice(stem, category)) for other in others]
    # With the flawed stem itself as anchor, another one seems to be off the other way.
    windows.append(window(stem, advice(others[0], opposite(category))))
    song = combine(windows)
    flaw = FLAWS[category]
    assert (song.stem, song.direction) == (stem, flaw.direction)
    assert (song.min_db, song.max_db) == (flaw.min_db, flaw.max_db)
    assert song.text == f"{stem} is {category}"
    assert song.num_agreeing == 3


def test_a_window_without_the_flawed_stem_does_not_outvote_those_with_it():
    windows = [
        window("drums", advice("vocals", Category.VERY_QUIET), ["drums", "vocals"]),
        window("vocals", advice("drums", Category.VERY_LOUD), ["drums", "vocals"]),
        window("drums", BALANCED, ["bass", "drums"]),
        window("bass", BALANCED, ["bass", "drums"]),
    ]
    song = combine(windows)
    assert (song.stem, song.direction, song.num_agreeing) == ("vocals", Direction.RAISE, 4)


def test_the_majority_wins_and_the_rest_is_counted():
    low = advice("vocals", Category.QUIET)
    windows = [window("drums", low), window("bass", low), window("drums", BALANCED)]
    song = combine(windows)
    assert (song.stem, song.num_agreeing, len(song.windows)) == ("vocals", 2, 3)


def test_a_draw_moves_no_fader():
    song = combine([window("drums", BALANCED), window("drums", advice("bass", Category.LOUD))])
    assert song.direction is Direction.NONE
    assert song.stem is song.min_db is song.max_db is None


def test_a_known_anchor_is_never_the_one_to_move():
    windows = [window("vocals", advice("drums", Category.LOUD), ["drums", "vocals"])] * 3
    song = combine(windows, anchor="vocals")
    assert (song.stem, song.direction) == ("drums", Direction.LOWER)


def test_what_was_not_understood_counts_for_nothing():
    puzzled = Advice("Hm.")
    song = combine([window("drums", puzzled)] * 5 + [window("drums", advice("bass", FLAWED[0]))])
    assert (song.stem, song.num_agreeing) == ("bass", 1)
    assert combine([window("drums", puzzled)]).direction is None
    assert combine([window("drums", advice("other", FLAWED[0]))]).direction is None


def test_json_types_all_the_way_down():
    import json

    song = combine([window("drums", advice("bass", Category.LOUD))], notes=["short"])
    told = json.loads(json.dumps(song.to_dict()))
    assert told["direction"] == "lower"
    assert told["windows"][0]["advice"]["stem"] == "bass"
    assert told["notes"] == ["short"]
