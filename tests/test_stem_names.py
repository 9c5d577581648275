"""Which stem a file's name stands for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixing_buddy.advising.stem_names import MIX, UNKNOWN_NAME, guess_stem, guess_stems, split_words
from mixing_buddy.stems import STEMS
from mixing_buddy.template_pools import load

NAMES = {
    "vocals": [
        "Lead Vox 2",
        "bgv",
        "01_LeadVocals_dry",
        "leadvox",
        "LdVox",
        "Gesang dbl",
        "Chœurs",
        "Voix lead",
        "VOZ",
        "Sänger",
        "ボーカル",
        "Вокал",
        "人声",
        "Vox Delay Guitar",
        "Bass Vox",
        "BGVs L",
    ],
    "drums": [
        "kik in",
        "OH L",
        "OHs",
        "Bass Drum",
        "Sub Kick",
        "808 Kick",
        "SnareBtm",
        "drumloop",
        "HiHat",
        "hi-hat",
        "Floor Tom",
        "Schlagzeug",
        "Batería",
        "percussão",
        "Bębny",
        "드럼",
        "Room",
        "drums mix",
    ],
    "bass": [
        "808",
        "808 3",
        "BassGtr DI",
        "Synth Bass 1",
        "bs",
        "Kontrabaß",
        "Double Bass",
        "bajo",
        "ベース",
        "бас",
        "sub",
    ],
    "other": [
        "gtr dbl",
        "EGtr2",
        "bassoon",
        "Bass Clarinet",
        "Steel Drum",
        "Alto Sax",
        "El Piano",
        "Keys",
        "pad",
        "FX",
        "Streicher",
        "ギター",
    ],
    MIX: ["mixture", "Mixdown", "My Song Master 24bit", "2mix"],
}


@pytest.mark.parametrize(
    ("name", "stem"), [(name, stem) for stem, names in NAMES.items() for name in names]
)
def test_names_that_people_use(name, stem):
    guess = guess_stem(name)
    assert guess.stem == stem
    assert guess.word is not None
    assert guess.word in guess.reason


@pytest.mark.parametrize(
    "name", ["Audio 03", "", "___", "New Take", "1234", "Subaru", "kickstarter"]
)
def test_what_is_unknown_is_other_and_says_so(name):
    guess = guess_stem(name)
    assert (guess.stem, guess.word, guess.reason) == ("other", None, UNKNOWN_NAME)


def test_the_name_of_the_song_decides_nothing():
    names = [f"My Bass Song - {part} (120 bpm)" for part in ("Drums", "Pad", "Lead", "Sub")]
    assert [guess.stem for guess in guess_stems(names)] == ["drums", "other", "other", "bass"]


def test_what_all_tracks_are_is_not_taken_for_the_name_of_the_song():
    assert {guess.stem for guess in guess_stems(["Lead Vox 1", "Lead Vox 2"])} == {"vocals"}


def test_every_listed_name_means_what_its_list_says():
    listed = load("stem_names")
    for stem in (*STEMS, MIX):
        for entry in listed[stem]:
            assert guess_stem(entry).stem == stem, entry


def test_no_name_is_listed_twice():
    listed = load("stem_names")
    entries = [tuple(split_words(entry)) for stem in (*STEMS, MIX) for entry in listed[stem]]
    assert sorted({entry for entry in entries if entries.count(entry) > 1}) == []


@given(st.text())
def test_any_name_gets_a_stem_whatever_its_case(name):
    assert guess_stem(name).stem in (*STEMS, MIX)


@given(
    st.sampled_from([(name, stem) for stem, names in NAMES.items() for name in names]),
    st.integers(0, 999),
    st.sampled_from([" ", "_", "-", ".", " - "]),
)
def test_numbers_and_separators_change_nothing(pair, number, separator):
    name, stem = pair
    if number not in (2, 303, 707, 808, 909):  # numbers that are names themselves
        assert guess_stem(f"{number:03d}{separator}{name}{separator}take").stem == stem
