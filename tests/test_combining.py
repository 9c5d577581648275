"""Combining answers on windows: the explanation that fits them best."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixing_buddy.advice import Advice, parse_advice
from mixing_buddy.advising.combining import WindowAdvice, combine
from mixing_buddy.advising.ranking import Ranking, list_candidates
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


@pytest.mark.parametrize("category", FLAWED)
def test_the_most_probable_move_is_told_by_its_most_probable_size(category):
    windows = [window("drums", advice("vocals", Category.QUIET))]
    candidates = list_candidates(ADVISED_STEMS, "drums")
    flaw = FLAWS[category]
    # More probable than either size of the bass, less than both together.
    rival = [each.is_balanced for each in candidates].index(True)
    weights = np.full(len(candidates), 0.01)
    weights[rival] = 0.4
    for index, each in enumerate(candidates):
        if each.stem == "bass" and each.direction is flaw.direction:
            weights[index] = 0.3 if each.category is category else 0.2
    song = combine(windows, ranking=Ranking(candidates, np.log(weights)))
    assert (song.stem, song.direction) == ("bass", flaw.direction)
    assert (song.min_db, song.max_db) == (flaw.min_db, flaw.max_db)
    told = parse_advice(song.text)
    assert (told.stem, told.direction, told.min_db) == ("bass", flaw.direction, flaw.min_db)
    # What answers say decides where nothing else is known.
    assert combine(windows).stem == "vocals"


@pytest.mark.parametrize("is_off", [False, True])
def test_where_two_explanations_fit_equally_well_the_more_probable_one_is_told(is_off):
    # Against the bass all is well, against the others the bass is not.
    low = advice("bass", Category.QUIET)
    windows = [window("bass", BALANCED), window("drums", low), window("vocals", low)]
    assert combine(windows).direction is Direction.NONE
    candidates = list_candidates(ADVISED_STEMS, "drums")
    weights = [
        float(each.is_balanced) * (-2.0 if is_off else 2.0)
        + float((each.stem, each.category) == ("bass", Category.VERY_QUIET))
        for each in candidates
    ]
    song = combine(windows, ranking=Ranking(candidates, np.array(weights)))
    if is_off:
        assert (song.stem, song.direction, song.min_db) == ("bass", Direction.RAISE, 6.0)
    else:
        assert song.direction is Direction.NONE
    # A part of the song whose answers leave it open is taken to be as the song is.
    assert combine(windows, of_song=song).direction is song.direction


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


def test_a_verdict_that_no_answer_states_is_put_into_words():
    # Two answers that cancel each other out: nothing is off, though nobody said so.
    raise_it, lower_it = advice("bass", Category.QUIET), advice("bass", Category.LOUD)
    song = combine([window("vocals", raise_it), window("vocals", lower_it)])
    assert song.direction is Direction.NONE
    assert parse_advice(song.text).direction is Direction.NONE
    # Only the stem that is off was asked as anchor.
    song = combine([window("vocals", advice("drums", Category.LOUD), ["drums", "vocals"])] * 2)
    assert parse_advice(song.text).stem == song.stem


@settings(max_examples=200)
@given(data=st.data())
def test_whatever_is_answered_there_is_advice_in_words(data):
    answers = [BALANCED, Advice("Hm."), *(advice(s, c) for s in ADVISED_STEMS for c in FLAWED)]
    stems = st.sampled_from([("bass", "drums"), ("drums", "vocals"), ADVISED_STEMS])
    windows = []
    for _ in range(data.draw(st.integers(1, 5))):
        heard = data.draw(stems)
        asked = data.draw(st.sampled_from(heard))
        windows.append(window(asked, data.draw(st.sampled_from(answers)), heard))
    song = combine(windows)
    told = parse_advice(song.text)
    assert 0 <= song.num_agreeing <= len(windows)
    if song.direction is not None and song.text.count(" ") > 2:
        assert (told.stem, told.direction) == (song.stem, song.direction)


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
