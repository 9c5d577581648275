"""Laws of the advice parser, and answers as people and models write them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixing_buddy.advice import Advice, parse_advice, parse_changes
from mixing_buddy.advising.combining import SongAdvice, WindowAdvice, WindowLevels
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.flaws import Direction
from mixing_buddy.stems import STEMS

RAISE, LOWER, NONE = Direction.RAISE, Direction.LOWER, Direction.NONE

PARAPHRASES = [
    # Actions.
    ("Turn the vocals up by 3 to 6 dB.", "vocals", RAISE, 3, 6),
    ("TURN DOWN THE BASS BY 6-12 DB!", "bass", LOWER, 6, 12),
    ("Bring up the drums between 3 and 6 dB", "drums", RAISE, 3, 6),
    ("Bring the lead vocal back up by about 4 dB.", "vocals", RAISE, 4, 4),
    ("Boost the vocals with 3 to 6 decibels.", "vocals", RAISE, 3, 6),
    ("Cut 3–6 dB from the bass.", "bass", LOWER, 3, 6),
    ("I'd take 6 to 12 dB off the drum kit.", "drums", LOWER, 6, 12),
    ("Give the singer 3 dB more.", "vocals", RAISE, 3, 3),
    ("The bass drum needs to come down 3 to 6 dB.", "drums", LOWER, 3, 6),
    ("The bass could use 3 to 6 dB.", "bass", RAISE, 3, 6),
    ("The vocals should be raised by 6—12 dB.", "vocals", RAISE, 6, 12),
    ("Drums need less level, say 3 dB less.", "drums", LOWER, 3, 3),
    ("Pull the bass fader back 6 to 3 dB.", "bass", LOWER, 3, 6),
    ("On the vocals, pull the fader down a bit.", "vocals", LOWER, None, None),
    ("The vocals are under the drums; give them 3-6 dB.", "vocals", RAISE, 3, 6),
    ("Add three to six dB to the voice.", "vocals", RAISE, 3, 6),
    ("Reduce the bass gain by 2.5 to 4.5 dB for a balanced mix.", "bass", LOWER, 2.5, 4.5),
    ("Ease the vocals back, perhaps 3,5 dB.", "vocals", LOWER, 3.5, 3.5),
    ("Increase the other instruments by 3 to 6 dB.", "other", RAISE, 3, 6),
    ("Raise the vocals by 3 dB to 6 dB.", "vocals", RAISE, 3, 6),
    ("Raise the vocals by no more than 4 dB.", "vocals", RAISE, 4, 4),
    ("**Vocals**: +3 dB", "vocals", RAISE, 3, 3),
    ("Drums −4.5 dB", "drums", LOWER, 4.5, 4.5),
    ("Vocals up 3 dB, please", "vocals", RAISE, 3, 3),
    ("More vocals!", "vocals", RAISE, None, None),
    ("Lower it by 3 to 6 dB.", None, LOWER, 3, 6),
    ("Don't be afraid to push the vocals up 6 dB.", "vocals", RAISE, 6, 6),
    # Comparatives: a wish or a description.
    ("Make the vocals louder.", "vocals", RAISE, None, None),
    ("The drums should be quieter, by 3 to 6 dB.", "drums", LOWER, 3, 6),
    ("The vocals are louder than the drums.", "vocals", LOWER, None, None),
    ("The bass is 4 dB quieter than the drums.", "bass", RAISE, 4, 4),
    ("The bass sits lower than the vocals.", "bass", RAISE, None, None),
    ("The bass should sit lower.", "bass", LOWER, None, None),
    ("I'd like the bass a bit higher against the drums.", "bass", RAISE, None, None),
    # States.
    ("The bass is too loud.", "bass", LOWER, None, None),
    ("The vocals are way too quiet, 6 to 12 dB I would say.", "vocals", RAISE, 6, 12),
    ("Vocals buried under the bass.", "vocals", RAISE, None, None),
    ("The drums are drowned out by the vocals.", "drums", RAISE, None, None),
    ("The bass overpowers the vocals.", "bass", LOWER, None, None),
    ("There's too much bass next to the vocals.", "bass", LOWER, None, None),
    ("I can't hear the vocals over the drums.", "vocals", RAISE, None, None),
    ("The voice isn't loud enough.", "vocals", RAISE, None, None),
    ("The vocals don't cut through.", "vocals", RAISE, None, None),
    ("It's the drums that stick out.", "drums", LOWER, None, None),
    ("The kit is loud.", "drums", LOWER, None, None),
    ("The vocals can barely be heard over the drums.", "vocals", RAISE, None, None),
    ("The vocals aren't as loud as they should be.", "vocals", RAISE, None, None),
    ("The bass seems slightly elevated. Attenuate it by 3 dB.", "bass", LOWER, 3, 3),
    # The anchor is no target.
    ("The bass is not balanced with the drums: it is 4 dB hot.", "bass", LOWER, 4, 4),
    ("Against the drums, the vocals are buried.", "vocals", RAISE, None, None),
    ("With the bass as reference, bring the drums down 3 to 6 dB.", "drums", LOWER, 3, 6),
    ("Next to drums and bass, the vocals are too low; raise them.", "vocals", RAISE, None, None),
    ("Raise the vocals to match the drums.", "vocals", RAISE, None, None),
    ("Leave the drums alone and raise the vocals by 3 to 6 dB.", "vocals", RAISE, 3, 6),
    ("The drums are the anchor. The bass is too high. Bring it down 3 dB.", "bass", LOWER, 3, 3),
    ("Turn the bass down without touching the vocals.", "bass", LOWER, None, None),
    # Pronouns, order, several stems.
    ("The vocals sound about 4 dB too quiet. Push them up.", "vocals", RAISE, 4, 4),
    ("The vocals are buried. The drums are fine. Raise by 3 dB.", "vocals", RAISE, 3, 3),
    ("Lower the bass by 3 dB and raise the vocals by 6 dB.", "bass", LOWER, 3, 3),
    ("The vocals are 8 dB below the drums. Raise them by 3 to 6 dB.", "vocals", RAISE, 3, 6),
    # Negation.
    ("The drums aren't too loud, but the vocals are too quiet.", "vocals", RAISE, None, None),
    ("Don't raise the vocals; lower the drums by 3 to 6 dB.", "drums", LOWER, 3, 6),
    ("Instead of raising the vocals, pull down the drums.", "drums", LOWER, None, None),
    ("No, the bass is too loud.", "bass", LOWER, None, None),
    # Balanced.
    ("The mix is balanced; no change needed.", None, NONE, None, None),
    ("Nothing needs to move.", None, NONE, None, None),
    ("The vocals are not too loud.", None, NONE, None, None),
    ("Don't touch the vocals.", None, NONE, None, None),
    ("There is no need to turn anything up or down.", None, NONE, None, None),
    ("Everything sits where it should: leave it as it is.", None, NONE, None, None),
    ("The bass sounds good against the drums.", None, NONE, None, None),
    # Not understood.
    ("", None, None, None, None),
    ("I'm sorry, but I can't tell whether the vocals are too loud.", None, None, None, None),
    ("As a language model, I cannot listen to audio.", None, None, None, None),
    ("I'm not sure whether to raise or lower the bass.", None, None, None, None),
    ("I can't hear the audio. No changes needed.", None, None, None, None),
    ("Is the bass too loud?", None, None, None, None),
    ("Raise the vocals by 3 dB. Lower the vocals by 3 dB.", None, None, None, None),
    ("The mix is not balanced.", None, None, None, None),
    ("A nice song with boosters and cloudy highlights.", None, None, None, None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "stem", "direction", "min_db", "max_db"), PARAPHRASES)
def test_paraphrases(text, stem, direction, min_db, max_db):
    assert parse_advice(text) == Advice(text, stem, direction, min_db, max_db)


@pytest.mark.parametrize("text", [row[0] for row in PARAPHRASES])
def test_case_and_typography_do_not_matter(text):
    plain = parse_advice(text)
    typeset = text.upper().replace("'", "’").replace(" ", "  ")
    assert parse_advice(typeset).to_dict() | {"text": ""} == plain.to_dict() | {"text": ""}


NUMBERS = st.decimals(min_value=0, max_value=24, places=1).map(lambda d: f"{d.normalize():f}")
RANGES = st.sampled_from(
    "{}-{} dB;{} - {} dB;{}–{} dB;{} — {}dB;{} to {} decibels;{} dB to {} dB;between {} and {} dB;"
    "{}dB–{}dB;from {} to {} dB;{}-to-{} dB;{}‑{} db;{} −{} dB".split(";")
)


@given(low=NUMBERS, high=NUMBERS, form=RANGES)
def test_ranges_are_read_in_any_spelling_and_order(low, high, form):
    advice = parse_advice(f"The bass is too loud. Lower it {form.format(low, high)}.")
    assert (advice.stem, advice.direction) == ("bass", LOWER)
    assert (advice.min_db, advice.max_db) == tuple(sorted((float(low), float(high))))


@given(number=NUMBERS, unit=st.sampled_from(["dB", " dB", " decibels", "-dB", " d B"]))
def test_a_single_number_is_a_range_of_one(number, unit):
    advice = parse_advice(f"Raise the vocals by about {number}{unit}.")
    assert advice.stem == "vocals"
    assert advice.min_db == advice.max_db == float(number)


@given(st.text())
def test_any_text_is_parsed_without_error(text):
    advice = parse_advice(text)
    assert advice.text == text
    json.dumps(advice.to_dict())


@pytest.mark.parametrize("amount", ["peaking at -6 dBFS", "for 10 seconds", "by 3 to 6 percent"])
def test_other_units_are_no_advice(amount):
    advice = parse_advice(f"Raise the vocals {amount}.")
    assert (advice.min_db, advice.max_db) == (None, None)


CHANGES = [
    ("Raise the vocals by 3 dB and the drums by 2.5 dB, and lower the bass by 4 dB.",
     {"vocals": 3, "drums": 2.5, "bass": -4}),
    ("Bring the bass down 4 dB, the drums 2 dB, and push the vocals up 1.5 dB.",
     {"bass": -4, "drums": -2, "vocals": 1.5}),
    ("Raise the vocals and the drums by 3 dB.", {"vocals": 3, "drums": 3}),
    ("Raise the vocals, drums and bass by 3 dB.", {"vocals": 3, "drums": 3, "bass": 3}),
    ("The vocals and drums need to come up by 3 to 6 dB.", {"vocals": 4.5, "drums": 4.5}),
    ("Vocals: +3 dB, bass: -2 dB.", {"vocals": 3, "bass": -2}),
    ("- Vocals +3 dB\n- Bass −2 dB\n- Drums: no change", {"vocals": 3, "bass": -2}),
    ("Take 3 dB off the bass and give the vocals 2 dB more.", {"bass": -3, "vocals": 2}),
    ("The vocals are 3 dB too quiet. Raise them by 3 dB.", {"vocals": 3}),
    ("In A, the bass is 4 dB louder than in B and the vocals are 3 dB quieter than in B.",
     {"bass": -4, "vocals": 3}),
    ("Against the drums, the vocals need to come up, and by a lot: 6 dB.", {"vocals": 6}),
    ("Raise the vocals by 3 dB. Lower the vocals by 3 dB.", {}),
    ("Raise the vocals. Don't lower the bass by 3 dB.", {}),
    ("A already matches B.", {}),
    ("Should I raise the vocals by 3 dB?", {}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "changes_db"), CHANGES)
def test_changes_of_several_stems(text, changes_db):
    assert parse_changes(text) == changes_db


@given(st.text() | st.lists(st.sampled_from([text for text, _ in CHANGES])).map(" ".join))
def test_any_text_gives_finite_changes(text):
    assert all(abs(change_db) < float("inf") for change_db in parse_changes(text).values())


def test_answers_of_a_published_dataset_parse_back(shared_dir):
    path = shared_dir / "fixtures/published-predictions/predictions-checkpoint-3200.jsonl"
    directions = {"quiet": RAISE, "loud": LOWER, "error": NONE}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    wrong = []
    for row in rows:
        advice = parse_advice(row["ground_truth"])
        direction = directions[row["error_category"].split("_")[-1]]
        is_balanced = direction is NONE
        low, high = (None, None) if is_balanced else (
            row["expected_magnitude_min_db"], row["expected_magnitude_max_db"]
        )  # fmt: skip
        expected = (None if is_balanced else row["target_stem"], direction, low, high)
        if (advice.stem, advice.direction, advice.min_db, advice.max_db) != expected:
            wrong.append(row["ground_truth"])
    assert rows and not wrong


ADVICE = st.builds(
    Advice,
    text=st.text(),
    stem=st.none() | st.text(),
    direction=st.none() | st.sampled_from(Direction),
    min_db=st.none() | st.floats(0, 60),
    max_db=st.none() | st.floats(0, 60),
)
MOMENT = {"start_s": st.floats(0, 7200), "duration_s": st.floats(0, 10)}
STEM = st.sampled_from(STEMS)
SONG_ADVICE = st.builds(
    SongAdvice,
    text=st.text(),
    direction=st.none() | st.sampled_from(Direction),
    windows=st.lists(
        st.builds(WindowAdvice, **MOMENT, anchor=STEM, stems=st.tuples(STEM, STEM), advice=ADVICE),
        max_size=3,
    ).map(tuple),
    notes=st.lists(st.text(), max_size=2).map(tuple),
    confidence=st.none() | st.floats(0, 1),
    levels=st.lists(
        st.builds(
            WindowLevels, **MOMENT, lufs=st.dictionaries(STEM, st.floats(-70, 0), max_size=2)
        ),
        max_size=2,
    ).map(tuple),
)


@given(ADVICE | SONG_ADVICE)
def test_saved_advice_is_the_advice_loaded(advice):
    kind = type(advice)
    assert kind.from_dict(advice.to_dict()) == advice
    assert kind.from_json(advice.to_json()) == advice
    assert "\n" not in advice.to_json()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no Advice"),
        ("[1]", "a JSON object was expected"),
        ("{}", "text"),
        ('{"text": "", "loudness": 1}', "unknown loudness"),
        ('{"text": "", "direction": "sideways"}', "sideways"),
    ],
)
def test_what_is_no_advice_is_told(text, message):
    with pytest.raises(MixingBuddyError, match=message):
        Advice.from_json(text)


def test_what_is_no_advice_on_a_song_is_told():
    with pytest.raises(MixingBuddyError, match="no SongAdvice"):
        SongAdvice.from_dict({"text": "", "windows": [{"start_s": 0.0}]})
    with pytest.raises(MixingBuddyError, match="no SongAdvice"):
        SongAdvice.from_dict({"text": "", "levels": 3})
