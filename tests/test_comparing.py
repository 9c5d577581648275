"""From one version of a song to the balance of another, by measurement."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from mixing_buddy.advising.comparing import compare_songs
from mixing_buddy.advising.exporting import export_song
from mixing_buddy.advising.inputs import open_song
from mixing_buddy.advising.reporting import describe_comparison
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.stems import STEMS

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "rubidium"


def move(song, gains_db, folder):
    done = export_song(song, gains_db, folder)
    done.mix.unlink()
    return open_song(folder)


@pytest.mark.parametrize("anchor", [None, "drums"])
@pytest.mark.parametrize("level_db", [0.0, -8.0])
def test_what_was_moved_is_what_is_found(tmp_path, write_song, anchor, level_db):
    reference = open_song(write_song(tmp_path / "song", duration_s=30.0))
    gains_db = {stem: level_db + (4.0 if stem == "vocals" else 0.0) for stem in STEMS}
    mine = move(reference, gains_db, tmp_path / "mine")
    found = compare_songs(mine, reference, anchor=anchor)
    expected = {"vocals": -4.0, "bass": 0.0, "drums": 0.0, "other": 0.0}
    assert found.changes_db == pytest.approx(expected, abs=0.01)
    assert found.num_windows == 3
    assert max(each.spread_db for each in found.stems) < 0.01
    assert found.mix_db == pytest.approx(level_db + 1.5, abs=0.3)
    first, *_ = describe_comparison(found)
    assert str(first).startswith("Lower the vocals by 4.0 dB")
    assert first.source == "measured"


def test_there_and_back_are_opposite_and_the_same_is_nothing(tmp_path):
    a = open_song(EXAMPLE)
    b = move(a, {"bass": -5.0}, tmp_path / "b")
    there = compare_songs(a, b, anchor="drums").changes_db
    back = compare_songs(b, a, anchor="drums").changes_db
    assert there == pytest.approx({stem: -db for stem, db in back.items()})
    same = compare_songs(a, a)
    assert set(same.changes_db.values()) == {0.0}
    assert "is that of the reference" in describe_comparison(same)[0].text


def test_what_cannot_be_compared_is_named(tmp_path, write_song):
    song = open_song(EXAMPLE)
    with pytest.raises(MixingBuddyError, match="one file"):
        compare_songs(song, open_song(EXAMPLE / "bass.flac"))
    with pytest.raises(MixingBuddyError, match="choose one of"):
        compare_songs(song, song, anchor="cowbell")
    solo = open_song(write_song(tmp_path / "solo", silent=("bass", "drums", "other")))
    with pytest.raises(MixingBuddyError, match="no window"):
        compare_songs(solo, solo)


def test_different_lengths_are_said(tmp_path, write_song):
    long = open_song(write_song(tmp_path / "long", duration_s=30.0))
    short = open_song(write_song(tmp_path / "short", duration_s=22.0))
    found = compare_songs(long, short)
    assert found.num_windows == 2
    assert any("30.0 and 22.0 s" in note for note in found.notes)


def test_a_stem_that_only_one_version_has_is_said(tmp_path, write_song):
    reference = open_song(write_song(tmp_path / "song", duration_s=10.0))
    folder = write_song(tmp_path / "mine", duration_s=10.0)
    (folder / "vocals.wav").rename(folder / "Take 3.wav")
    found = compare_songs(open_song(folder), reference)
    assert "vocals" not in found.changes_db
    assert any("Only the reference has a track taken as vocals" in note for note in found.notes)


def write_rhythm(folder, delay_s, gains_db, seed=0):
    """Four stems of bursts at random times, the same music, starting later."""
    folder.mkdir()
    for index, (stem, gain_db) in enumerate(zip(STEMS, gains_db, strict=True)):
        rng = np.random.default_rng((seed, index))
        audio = np.zeros(30 * 24_000)
        for start in rng.integers(24_000, audio.size - 24_000, 60):
            burst = rng.normal(0.0, 0.1, 6_000) * np.exp(-np.arange(6_000) / 1_500)
            audio[start : start + 6_000] += burst
        audio = np.roll(audio, round(delay_s * 24_000)) * 10 ** (gain_db / 20)
        soundfile.write(folder / f"{stem}.wav", audio, 24_000)
    return open_song(folder)


@pytest.mark.parametrize("delay_s", [0.0, 2.5, -0.44])
def test_versions_that_do_not_start_together_are_said(tmp_path, delay_s):
    reference = write_rhythm(tmp_path / "reference", 0.0, [0.0, 0.0, 0.0, 0.0])
    mine = write_rhythm(tmp_path / "mine", delay_s, [4.0, -6.0, 0.0, 3.0])
    notes = [note for note in compare_songs(mine, reference).notes if "later" in note]
    assert len(notes) == (delay_s != 0.0)
    for note in notes:
        late = mine if delay_s > 0 else reference
        assert note.startswith(f"In {late.path} the music seems to come {abs(delay_s):.2f} s later")


def test_other_music_is_not_taken_for_a_shift(tmp_path):
    songs = [write_rhythm(tmp_path / str(seed), 0.0, [0.0] * 4, seed=seed) for seed in (1, 2)]
    assert not [note for note in compare_songs(*songs).notes if "later" in note]
