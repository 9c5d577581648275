from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mixing_buddy.audio import audio_info, read_audio, resample, to_mono, write_audio
from mixing_buddy.errors import AudioError


def tone(duration_s=1.0, sample_rate=24_000, channels=2, amplitude=0.5):
    time_s = np.arange(round(duration_s * sample_rate)) / sample_rate
    wave = amplitude * np.sin(2 * np.pi * 440.0 * time_s)
    return np.stack([wave] * channels).astype(np.float32)


@pytest.mark.parametrize("sample_rate", [8_000, 24_000, 44_100, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [("a.wav", None, 0.0), ("a.flac", None, 2e-7), ("a.wav", "PCM_16", 4e-5)],
)
def test_written_then_read_is_the_same(tmp_path, sample_rate, channels, name, subtype, tolerance):
    audio = tone(0.1, sample_rate, channels)
    write_audio(tmp_path / name, audio, sample_rate, subtype=subtype)
    read, rate = read_audio(tmp_path / name)
    assert rate == sample_rate
    assert read.dtype == np.float32
    assert audio_info(tmp_path / name) == (audio.shape[1], sample_rate)
    np.testing.assert_allclose(read, audio, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_the_same_samples_give_the_same_bytes(tmp_path, name, monkeypatch):
    first, second = tmp_path / "1" / name, tmp_path / "2" / name
    write_audio(first, tone(), 24_000)
    monkeypatch.setattr("time.time", lambda: 1e9)
    write_audio(second, tone(), 24_000)
    assert first.read_bytes() == second.read_bytes()


def test_float_files_keep_what_is_beyond_full_scale_and_integer_files_refuse_it(tmp_path):
    audio = tone(amplitude=2.0)
    write_audio(tmp_path / "a.wav", audio, 24_000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0], audio)
    with pytest.raises(AudioError, match=r"peaks at \+6\.0 dBFS and would clip"):
        write_audio(tmp_path / "a.flac", audio, 24_000)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_part_is_the_same_as_a_slice_of_the_whole(tmp_path):
    write_audio(tmp_path / "a.flac", tone(2.0), 24_000)
    whole, _ = read_audio(tmp_path / "a.flac")
    part, _ = read_audio(tmp_path / "a.flac", start_s=0.5, duration_s=0.75)
    np.testing.assert_array_equal(part, whole[:, 12_000:30_000])
    with pytest.raises(AudioError, match="the file is 2 s long"):
        read_audio(tmp_path / "a.flac", start_s=1.5, duration_s=1.0)


def truncate(path, share=0.5):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "there is no such file"),
        (lambda path: path.write_bytes(b""), "can't be"),
        (lambda path: path.write_bytes(b"no audio at all" * 99), "can't be"),
        (truncate, "truncated"),
    ],
)
def test_bad_files_say_what_is_wrong_and_which_file(tmp_path, name, spoil, message):
    path = tmp_path / name
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 48_000)).astype(np.float32)
    write_audio(path, noise, 24_000, subtype="PCM_16")
    spoil(path)
    with pytest.raises(AudioError, match=message) as caught:
        read_audio(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_a_wav_cut_by_a_few_bytes_is_truncated_too(tmp_path, subtype):
    path = tmp_path / "a.wav"
    write_audio(path, tone(), 24_000, subtype=subtype)
    path.write_bytes(path.read_bytes()[:-8])
    for read in (read_audio, audio_info):
        with pytest.raises(AudioError, match="truncated: its header promises"):
            read(path)


def test_no_samples_and_not_finite_samples(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros((0, 1)), 24_000)
    for read in (read_audio, audio_info):
        with pytest.raises(AudioError, match="zero length"):
            read(tmp_path / "empty.wav")
    audio = tone().T.copy()
    audio[12_000, 1] = np.nan
    soundfile.write(tmp_path / "nan.wav", audio, 24_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"NaN or infinite samples, the first at 0\.500 s"):
        read_audio(tmp_path / "nan.wav")
    with pytest.raises(AudioError, match="NaN"):
        write_audio(tmp_path / "out.wav", audio.T, 24_000)
    with pytest.raises(AudioError, match=r"\.wav or \.flac"):
        write_audio(tmp_path / "out.mp3", tone(), 24_000)


def test_resampling_keeps_length_level_and_pitch():
    audio = tone(1.0, 44_100, 1)
    out = resample(audio, 44_100, 24_000)
    assert out.shape == (1, 24_000)
    np.testing.assert_allclose(out[:, 500:-500], tone(1.0, 24_000, 1)[:, 500:-500], atol=2e-4)
    assert resample(audio, 44_100, 44_100) is audio


@given(st.integers(1, 3), st.floats(-2.0, 2.0))
@settings(max_examples=20)
def test_mono_of_equal_channels_is_the_channel(channels, gain):
    audio = tone(0.01, channels=1)[0] * np.float32(gain)
    np.testing.assert_allclose(to_mono(np.stack([audio] * channels)), audio, atol=1e-6)
    assert to_mono(audio) is audio or audio.dtype != np.float32
