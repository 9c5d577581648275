"""Laws of the mixes before and after the advised change, and of the picture of levels."""

import math
from pathlib import Path

import numpy as np
import pytest

from mixing_buddy.advice import Advice
from mixing_buddy.advising.applying import (
    PEAK_DBFS,
    advised_change_db,
    fit_full_scale,
    match_loudness,
    mix_stems,
    read_stems,
)
from mixing_buddy.advising.plots import FLOOR_DBFS, levels_over_time, plot_song_levels
from mixing_buddy.audio import read_audio
from mixing_buddy.flaws import Direction
from mixing_buddy.loudness import db_to_gain, loudness_lufs
from mixing_buddy.stems import STEMS

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "rubidium"
RAISE = Advice("Raise the vocals by 6 to 12 dB.", "vocals", Direction.RAISE, 6.0, 12.0)


@pytest.fixture(scope="module")
def song() -> tuple[np.ndarray, int]:
    return read_stems(EXAMPLE)


def test_the_middle_of_the_range_is_applied():
    assert advised_change_db(RAISE) == {"vocals": 9.0}
    assert advised_change_db(Advice("", "bass", Direction.LOWER, 3.0, 6.0)) == {"bass": -4.5}
    assert advised_change_db(Advice("", None, Direction.NONE)) == {}
    assert advised_change_db(Advice("", "bass", Direction.LOWER)) == {}
    assert advised_change_db(Advice("")) == {}


def test_stems_keep_their_rate_and_channels(song):
    stems, sample_rate = song
    assert (len(stems), stems.shape[1], sample_rate) == (4, 2, 44_100)
    np.testing.assert_array_equal(stems[3], read_audio(EXAMPLE / "vocals.flac")[0])


def test_a_flaw_and_the_change_that_undoes_it_give_the_mix_back(song):
    stems, _ = song
    moved = stems * np.float32([1, 1, 1, db_to_gain(-9.0)])[:, None, None]
    np.testing.assert_allclose(
        mix_stems(moved, advised_change_db(RAISE)), mix_stems(stems, {}), atol=1e-6
    )


def test_mono_stems_stand_in_the_middle(write_song, tmp_path):
    folder = write_song(tmp_path / "mono", duration_s=2.0)
    wide = write_song(tmp_path / "wide", duration_s=2.0, num_channels=2)
    (wide / "vocals.wav").replace(folder / "vocals.wav")
    stems, _ = read_stems(folder)
    assert stems.shape[1] == 2
    np.testing.assert_array_equal(stems[0, 0], stems[0, 1])
    assert not np.array_equal(stems[3, 0], stems[3, 1])


def test_mixes_are_turned_down_together_and_only_where_one_clips():
    quiet, loud = np.float32([[0.5, -0.25]]), np.float32([[2.0, -1.0]])
    (same,), gain_db = fit_full_scale([quiet])
    assert gain_db == 0.0
    np.testing.assert_array_equal(same, quiet)
    (left, right), gain_db = fit_full_scale([quiet, loud])
    assert gain_db < 0
    assert 20 * math.log10(np.abs(right).max()) == pytest.approx(PEAK_DBFS, abs=1e-4)
    np.testing.assert_allclose(left / quiet, right / loud, rtol=1e-6)


def test_matched_mixes_are_equally_loud(song):
    stems, rate = song
    before, after = match_loudness([mix_stems(stems, {}), mix_stems(stems, {"drums": 6.0})], rate)
    assert loudness_lufs(after, rate) == pytest.approx(loudness_lufs(before, rate), abs=0.1)
    silence = np.zeros((2, rate), np.float32)
    np.testing.assert_array_equal(match_loudness([before, silence], rate)[1], silence)


def test_levels_follow_the_sound_and_are_drawn(song):
    stems, rate = song
    tone = np.sqrt(2) * 0.1 * np.sin(np.arange(rate) * 0.3)[None]
    levels = levels_over_time(np.concatenate([tone, np.zeros((1, rate))], axis=1), rate)
    np.testing.assert_allclose(levels, [-20, -20, FLOOR_DBFS, FLOOR_DBFS], atol=0.1)
    drawn = {stem: levels_over_time(audio, rate) for stem, audio in zip(STEMS, stems, strict=True)}
    plain = plot_song_levels(drawn)
    assert plain.startswith(b"\x89PNG")
    assert plot_song_levels(drawn, {"vocals": 9.0}) != plain
