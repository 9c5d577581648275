"""Listening to real and synthetic songs through the library."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from mixing_buddy.advice import Advice
from mixing_buddy.advising.inference import MixingBuddy
from mixing_buddy.advising.windows import read_windows
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.flaws import Direction
from mixing_buddy.songs import SAMPLE_RATE, load_song_folder, load_stems
from mixing_buddy.stems import ADVISED_STEMS, STEMS

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "rubidium"


@pytest.fixture(scope="module")
def nano() -> MixingBuddy:
    """The model that comes with the package."""
    return MixingBuddy.from_pretrained()


def test_windows_of_stems_and_of_their_sum_are_the_same(tmp_path):
    stems, sample_rate = [], 0
    for stem in STEMS:
        samples, sample_rate = soundfile.read(EXAMPLE / f"{stem}.flac", dtype="float32")
        stems.append(samples)
    soundfile.write(tmp_path / "mix.wav", sum(stems), sample_rate, subtype="FLOAT")
    of_stems, of_mix = read_windows(EXAMPLE), read_windows(tmp_path / "mix.wav")
    assert [w.start_s for w in of_stems] == [w.start_s for w in of_mix] == [0.0, 10.0]
    for left, right in zip(of_stems, of_mix, strict=True):
        np.testing.assert_allclose(left.clip, right.clip, atol=1e-5)
        assert right.audible_stems == STEMS


def test_a_fader_moves_its_stem_and_nothing_else():
    stems = load_stems(load_song_folder(EXAMPLE))
    before, after = read_windows(EXAMPLE), read_windows(EXAMPLE, faders_db={"vocals": -6.0})
    vocals = stems[STEMS.index("vocals")]
    for left, right in zip(before, after, strict=True):
        start = round(left.start_s * SAMPLE_RATE)
        part = vocals[start : start + len(left.clip)]
        np.testing.assert_allclose(left.clip - right.clip, part * (1 - 10 ** (-6 / 20)), atol=1e-5)
        assert left.audible_stems == right.audible_stems


def test_every_window_is_asked_with_every_audible_stem_as_anchor(nano):
    song = nano.advise(EXAMPLE)
    asked = {(window.start_s, window.anchor) for window in song.windows}
    expected = {(w.start_s, stem) for w in read_windows(EXAMPLE) for stem in w.advised_stems}
    assert asked == expected
    assert isinstance(song, Advice)
    assert 0 <= song.num_agreeing <= len(song.windows)
    for window in song.windows:
        assert window.advice.direction is not None, window.advice.text
        assert window.advice.stem in (None, *ADVISED_STEMS)
        assert window.advice.stem != window.anchor


def test_nano_hears_a_planted_flaw(nano):
    song = nano.advise(EXAMPLE, anchor="drums", faders_db={"vocals": -9.0})
    assert (song.stem, song.direction) == ("vocals", Direction.RAISE)
    assert song.min_db < song.max_db


def test_level_of_the_whole_song_changes_no_answer(nano):
    quieter = nano.advise(EXAMPLE, faders_db=dict.fromkeys(STEMS, -10.0))
    texts = [window.advice.text for window in nano.advise(EXAMPLE).windows]
    assert [window.advice.text for window in quieter.windows] == texts


def test_batch_size_changes_no_answer(nano):
    windows = read_windows(EXAMPLE)
    clips = [[window.clip] for window in windows] * 2
    questions = [f"Which stem is off against the {stem}?" for stem in ("bass", "drums")] * 2
    together = nano.answer(clips, questions)
    alone = [nano.answer([clip], [ask])[0] for clip, ask in zip(clips, questions, strict=True)]
    assert together == alone


def test_a_short_song_is_padded_and_says_so(nano, shared_dir):
    folder = next((shared_dir / "data" / "musdb18hq-excerpt" / "test").iterdir())
    song = nano.advise(folder)
    assert "padded" in song.notes[0]
    assert {window.duration_s for window in song.windows} == {5.8}


def test_every_cc0_song_gets_advice(nano, shared_dir):
    for song in sorted((shared_dir / "data" / "cc0-songs").glob("*/*")):
        if song.name == "Rubidium":
            advice = nano.advise(song, anchor="drums")
            assert len(advice.windows) > 10
        else:
            assert read_windows(song)


def test_errors_say_what_to_do(nano, tmp_path, write_song):
    with pytest.raises(MixingBuddyError, match="no such file"):
        nano.advise(tmp_path / "absent")
    with pytest.raises(MixingBuddyError, match="choose one of bass, drums, vocals"):
        nano.advise(EXAMPLE, anchor="other")
    with pytest.raises(MixingBuddyError, match="no fader guitar"):
        nano.advise(EXAMPLE, faders_db={"guitar": 3.0})
    with pytest.raises(MixingBuddyError, match="only be moved on a folder of stems"):
        nano.advise(EXAMPLE / "bass.flac", faders_db={"bass": 3.0})
    silent = write_song(tmp_path / "quiet", silent=("bass", "vocals"))
    with pytest.raises(MixingBuddyError, match="nothing to judge"):
        nano.advise(silent)
    duo = write_song(tmp_path / "duo", silent=("vocals",))
    with pytest.raises(MixingBuddyError, match="vocals and another stem"):
        nano.advise(duo, anchor="vocals")
    with pytest.raises(MixingBuddyError, match=r"config\.json"):
        MixingBuddy.from_pretrained(tmp_path)
