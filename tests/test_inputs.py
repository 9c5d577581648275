"""Songs as people have them: any names, formats, rates, channels and lengths."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixing_buddy.advising.inputs import open_song, stream_stems
from mixing_buddy.advising.streams import decode, stream_audio
from mixing_buddy.advising.windows import count_windows, iter_windows, read_windows
from mixing_buddy.audio import read_audio, resample, to_mono
from mixing_buddy.errors import AudioError, MixingBuddyError, SongError
from mixing_buddy.songs import SAMPLE_RATE
from mixing_buddy.stems import STEMS

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "rubidium"


def noise(duration_s, sample_rate, num_channels=1, seed=0):
    rng = np.random.default_rng(seed)
    shape = (round(duration_s * sample_rate), num_channels)
    return rng.normal(0.0, 0.05, shape).astype(np.float32)


@pytest.mark.parametrize("sample_rate", [8000, 11025, 22050, 24000, 44100, 48000, 96000, 192000])
def test_blocks_are_those_of_the_whole_file(tmp_path, sample_rate):
    path = tmp_path / "song.wav"
    soundfile.write(path, noise(4.37, sample_rate, 2), sample_rate, subtype="FLOAT")
    audio, _ = read_audio(path)
    whole = resample(to_mono(audio), sample_rate, SAMPLE_RATE)
    blocks = list(stream_audio(path, SAMPLE_RATE, 1))
    assert [block.shape for block in blocks[:-1]] == [(1, SAMPLE_RATE)] * 4
    np.testing.assert_allclose(np.concatenate(blocks, axis=1)[0], whole, atol=1e-6)
    rest = list(stream_audio(path, SAMPLE_RATE, 1, skip_blocks=3))
    for left, right in zip(rest, blocks[3:], strict=True):
        np.testing.assert_array_equal(left, right)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(8000, 50_000), st.integers(2000, 120_000))
def test_odd_rates_and_lengths_lose_nothing(tmp_path, sample_rate, num_samples):
    path = tmp_path / "odd.wav"
    time_s = np.arange(num_samples) / sample_rate
    tone = (0.1 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)
    soundfile.write(path, tone, sample_rate, subtype="FLOAT")
    got = np.concatenate(list(stream_audio(path, SAMPLE_RATE, 1)), axis=1)[0]
    assert len(got) == -(-num_samples * SAMPLE_RATE // sample_rate)
    inside = slice(1600, -1600)  # the filter rings at the ends of a tone
    expected = 0.1 * np.sin(2 * np.pi * 440 * np.arange(len(got)) / SAMPLE_RATE)
    np.testing.assert_allclose(got[inside], expected[inside], atol=0.015)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".aiff"])
def test_formats_sound_alike(tmp_path, suffix):
    audio, sample_rate = read_audio(EXAMPLE / "drums.flac")
    path = tmp_path / f"drums{suffix}"
    with soundfile.SoundFile(path, "w", sample_rate, 2) as file:
        for start in range(0, audio.shape[1], 65536):
            file.write(audio[:, start : start + 65536].T)
    (song,) = [open_song(path)]
    assert song.is_mix
    window = next(iter_windows(song))
    clip = next(stream_audio(EXAMPLE / "drums.flac", SAMPLE_RATE, 10))[0]
    assert np.corrcoef(window.clip, clip)[0, 1] > 0.98


@pytest.mark.parametrize("num_channels", [1, 2, 6, 8])
def test_channels_are_averaged(tmp_path, num_channels):
    path = tmp_path / "song.wav"
    audio = noise(3.0, SAMPLE_RATE, num_channels)
    soundfile.write(path, audio, SAMPLE_RATE, subtype="FLOAT")
    (block,) = stream_audio(path, SAMPLE_RATE, 10)
    np.testing.assert_allclose(block[0], audio.mean(axis=1), atol=1e-6)


def test_many_tracks_are_summed_into_their_stems_and_listed(tmp_path):
    rates = {"Lead Vox 1": 48000, "Lead Vox 2": 24000, "Kick": 24000, "808": 24000, "gtr": 24000}
    parts = {}
    for seed, (name, rate) in enumerate(rates.items()):
        samples = noise(12.0 if name != "Lead Vox 2" else 7.0, rate, seed=seed)
        soundfile.write(tmp_path / f"{name}.wav", samples, rate, subtype="FLOAT")
        parts[name] = resample(samples[:, 0], rate, SAMPLE_RATE)
    soundfile.write(tmp_path / "Full Mix.wav", noise(12.0, 24000), 24000)
    (tmp_path / "notes.txt").write_text("no audio")
    song = open_song(tmp_path)
    assert {t.path.stem: t.stem for t in song.tracks} == {
        "Lead Vox 1": "vocals",
        "Lead Vox 2": "vocals",
        "Kick": "drums",
        "808": "bass",
        "gtr": "other",
    }
    assert [file.name for file, _ in song.left_out] == ["Full Mix.wav"]
    assert any("7.0 to 12.0 s" in note for note in song.notes)
    stems = np.concatenate(list(stream_stems(song, SAMPLE_RATE, 10)), axis=1)
    vocals = parts["Lead Vox 1"].copy()
    vocals[: len(parts["Lead Vox 2"])] += parts["Lead Vox 2"]
    np.testing.assert_allclose(stems[STEMS.index("vocals")], vocals, atol=1e-6)
    np.testing.assert_allclose(stems[STEMS.index("bass")], parts["808"], atol=1e-6)


def test_a_mapping_corrects_the_guess(tmp_path):
    for name in ("Take 3.wav", "Vox.wav", "click.wav"):
        soundfile.write(tmp_path / name, noise(3.0, 24000), 24000)
    song = open_song(tmp_path)
    assert any("Take 3.wav, click.wav" in note for note in song.notes)
    song = open_song(tmp_path, mapping=["Take 3.wav=bass", "click=skip"])
    assert {track.path.name: track.stem for track in song.tracks} == {
        "Take 3.wav": "bass",
        "Vox.wav": "vocals",
    }
    assert song.notes == ()
    for wrong, message in {
        "Take 3.wav": "FILE=STEM",
        "Take 3.wav=guitar": "one of bass",
        "Take 4.wav=bass": "no such file",
    }.items():
        with pytest.raises(MixingBuddyError, match=message):
            open_song(tmp_path, mapping=[wrong])
    with pytest.raises(MixingBuddyError, match="mapped already"):
        open_song(tmp_path, mapping=["Vox.wav=bass", "Vox=drums"])


def test_windows_come_one_at_a_time_with_their_levels(tmp_path, write_song):
    write_song(tmp_path / "song", duration_s=35.0, silent=("other",))
    song = open_song(tmp_path / "song")
    windows = list(iter_windows(song, faders_db={"bass": -6.0}, measure=True))
    assert [window.start_s for window in windows] == [0.0, 10.0, 20.0]
    assert count_windows(song) == 3
    still = list(iter_windows(song, measure=True))
    for moved, before in zip(windows, still, strict=True):
        assert set(moved.levels_lufs) == {"bass", "drums", "vocals", "mix"}
        change_db = moved.levels_lufs["bass"] - before.levels_lufs["bass"]
        assert change_db == pytest.approx(-6.0)
        assert moved.levels_lufs["drums"] == before.levels_lufs["drums"]
        assert moved.levels_lufs["mix"] < before.levels_lufs["mix"]
    assert all(window.levels_lufs == {} for window in read_windows(tmp_path / "song"))


def test_mistakes_are_named(tmp_path):
    with pytest.raises(MixingBuddyError, match="no such file or folder"):
        open_song(tmp_path / "absent")
    with pytest.raises(SongError, match="no audio files"):
        open_song(tmp_path)
    soundfile.write(tmp_path / "mix.wav", noise(3.0, 24000), 24000)
    with pytest.raises(SongError, match="left out as a mix"):
        open_song(tmp_path)
    with pytest.raises(MixingBuddyError, match="for the files of a folder"):
        open_song(tmp_path / "mix.wav", mapping=["mix.wav=bass"])
    soundfile.write(tmp_path / "short.wav", noise(1.5, 24000), 24000)
    with pytest.raises(MixingBuddyError, match=r"1\.50 s long"):
        open_song(tmp_path / "short.wav")
    (tmp_path / "empty.wav").write_bytes(b"")
    with pytest.raises(AudioError, match=r"empty\.wav"):
        open_song(tmp_path / "empty.wav")


def test_broken_samples_are_found_while_decoding(tmp_path):
    samples = noise(3.0, 24000)
    samples[36000] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 24000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"1\.500 s"):
        list(decode(tmp_path / "nan.wav"))
    soundfile.write(tmp_path / "cut.flac", noise(30.0, 24000), 24000)
    data = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioError, match=r"cut\.flac"):
        list(iter_windows(open_song(tmp_path / "cut.flac")))
