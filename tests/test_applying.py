"""Corrected stems and mixes as files."""

import numpy as np
import pytest
import soundfile

from mixing_buddy.advising import exporting
from mixing_buddy.advising.exporting import export_song
from mixing_buddy.advising.inputs import open_song
from mixing_buddy.errors import MixingBuddyError, OutputError, SongError
from mixing_buddy.loudness import db_to_gain


def write_tracks(folder, *, amplitude=0.05, **formats):
    """Write tracks of noise; a format is suffix, rate, channels and subtype."""
    folder.mkdir()
    for seed, (name, (suffix, rate, num_channels, subtype)) in enumerate(formats.items()):
        rng = np.random.default_rng(seed)
        samples = rng.normal(0.0, amplitude, (rate * 12, num_channels)).clip(-1.0, 1.0)
        soundfile.write(folder / f"{name}{suffix}", samples, rate, subtype=subtype)
    return open_song(folder)


def read(path):
    return soundfile.read(path, always_2d=True, dtype="float64")[0]


def test_files_keep_rate_format_depth_and_sound(tmp_path):
    song = write_tracks(
        tmp_path / "in",
        bass=(".wav", 44100, 1, "PCM_24"),
        drums=(".flac", 48000, 2, "PCM_16"),
        vocals=(".aiff", 44100, 2, "PCM_16"),
        other=(".wav", 96000, 2, "FLOAT"),
    )
    done = export_song(song, {"bass": 3.0, "vocals": -6.0, "other": 2.0}, tmp_path / "out")
    assert done.common_gain_db == 0.0
    assert (done.folder / "drums.flac").read_bytes() == (song.path / "drums.flac").read_bytes()
    for track in song.tracks:
        before, after = soundfile.info(track.path), soundfile.info(done.folder / track.path.name)
        for name in ("samplerate", "channels", "format", "subtype", "frames"):
            assert getattr(before, name) == getattr(after, name)
        gain = db_to_gain(done.gains_db[track.path.name])
        step = 2**-15 if before.subtype == "PCM_16" else 2**-22
        np.testing.assert_allclose(
            read(done.folder / track.path.name), read(track.path) * gain, atol=step
        )
    assert soundfile.info(done.mix).samplerate == 96000
    assert soundfile.info(done.mix).duration == pytest.approx(12.0)


def test_the_mix_is_the_sum_of_the_tracks_written(tmp_path):
    song = write_tracks(
        tmp_path / "in",
        bass=(".wav", 24000, 1, "FLOAT"),
        drums=(".wav", 24000, 2, "FLOAT"),
        vocals=(".wav", 24000, 2, "FLOAT"),
    )
    done = export_song(song, {"bass": 4.0, "drums": -3.0}, tmp_path / "out")
    total = sum(read(done.folder / track.path.name) for track in song.tracks)
    np.testing.assert_allclose(read(done.mix), total, atol=1e-6)


def test_up_and_down_again_is_the_identity(tmp_path):
    song = write_tracks(tmp_path / "in", bass=(".wav", 24000, 1, "PCM_24"))
    up = export_song(song, {"bass": 5.0}, tmp_path / "up")
    (up.folder / "mix.wav").unlink()
    back = export_song(open_song(up.folder), {"bass": -5.0}, tmp_path / "back")
    np.testing.assert_allclose(
        read(back.folder / "bass.wav"), read(song.path / "bass.wav"), atol=2**-22
    )


@pytest.mark.parametrize("gains_db", [{}, {"vocals": 9.0}])
def test_what_would_clip_is_turned_down_by_one_gain(tmp_path, gains_db):
    kind = (".wav", 24000, 1, "PCM_16")
    song = write_tracks(tmp_path / "in", amplitude=0.2, bass=kind, drums=kind, vocals=kind)
    done = export_song(song, gains_db, tmp_path / "out")
    assert done.common_gain_db < 0.0
    peak = np.abs(read(done.mix)).max()
    assert 0.9 < peak <= 1.0 or gains_db
    assert peak < 1.0
    for track in song.tracks:
        expected_db = gains_db.get(track.stem, 0.0) + done.common_gain_db
        assert done.gains_db[track.path.name] == pytest.approx(expected_db)
        written = read(done.folder / track.path.name)
        assert np.abs(written).max() < 1.0
        assert 20 * np.log10(written.std() / read(track.path).std()) == pytest.approx(
            expected_db, abs=0.01
        )


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path, monkeypatch):
    song = write_tracks(tmp_path / "in", bass=(".wav", 24000, 1, "PCM_16"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with pytest.raises(OutputError, match="holds files already"):
        export_song(song, {}, tmp_path / "full")
    with pytest.raises(OutputError, match="is a file"):
        export_song(song, {}, tmp_path / "full" / "file")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "_write_mix", fail)
    with pytest.raises(OutputError, match="No space left"):
        export_song(song, {}, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "in"]


def test_a_mix_has_no_stems_to_move_and_odd_channels_are_named(tmp_path):
    soundfile.write(tmp_path / "mix.wav", np.zeros((72000, 2)), 24000)
    with pytest.raises(MixingBuddyError, match="folder of stems"):
        export_song(open_song(tmp_path / "mix.wav"), {"bass": 1.0}, tmp_path / "out")
    song = write_tracks(
        tmp_path / "in", bass=(".wav", 24000, 2, "PCM_16"), drums=(".wav", 24000, 6, "PCM_16")
    )
    with pytest.raises(SongError, match="2, 6 channels"):
        export_song(song, {}, tmp_path / "out")
