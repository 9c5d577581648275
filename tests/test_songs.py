from __future__ import annotations

import shutil

import numpy as np
import pytest
import soundfile

from mixing_buddy.chunks import CHUNK_S, find_chunks
from mixing_buddy.errors import SongError
from mixing_buddy.songs import find_song, find_songs, load_song_folder, load_stems, read_source
from mixing_buddy.stems import STEMS

#: Chunks with bass, drums and vocals all above -45 dBFS RMS, and all whole chunks; measured
#: with nothing but soundfile and numpy.
COUNTED = {
    "Rubidium": (14, 27),
    "Potassium": (12, 24),
    "Lithium": (4, 32),
    "Francium": (3, 29),
    "Sodium": (0, 30),
}


def test_songs_are_listed_by_split_then_name(song_root):
    songs = find_songs(song_root)
    assert [(song.split, song.name) for song in songs] == [
        ("train", "Amber"),
        ("train", "Basalt"),
        ("test", "Coral"),
    ]
    assert {(song.source, song.licence) for song in songs} == {("tiny", "CC0-1.0")}
    assert tuple(songs[0].stem_paths) == STEMS
    assert find_song(read_source(song_root), "test", "Coral") == songs[2]


def test_a_song_may_have_a_licence_of_its_own(song_root):
    (song_root / "source.yaml").write_text(
        "name: tiny\nlicence: CC0-1.0\nlicences:\n  Basalt: CC-BY-4.0\n"
    )
    licences = {song.name: song.licence for song in find_songs(song_root)}
    assert licences == {"Amber": "CC0-1.0", "Basalt": "CC-BY-4.0", "Coral": "CC0-1.0"}


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize(("sample_rate", "num_channels"), [(44_100, 2), (48_000, 1), (24_000, 2)])
def test_stems_are_mono_at_24_khz(tmp_path, write_song, suffix, sample_rate, num_channels):
    folder = write_song(
        tmp_path / "a", duration_s=1.0, sample_rate=sample_rate, num_channels=num_channels,
        suffix=suffix,
    )  # fmt: skip
    stems = load_stems(load_song_folder(folder))
    assert stems.shape == (4, 24_000)
    assert stems.dtype == np.float32


def edit(folder, stem, change):
    audio, rate = soundfile.read(folder / f"{stem}.wav")
    audio, rate = change(audio, rate)
    soundfile.write(folder / f"{stem}.wav", audio, rate, subtype="FLOAT")


def cut_bytes(folder):
    path = folder / "vocals.wav"
    path.write_bytes(path.read_bytes()[:20_000])


BROKEN = {
    "missing": (lambda at: (at / "drums.wav").unlink(), r"no file for drums \(found: bass\.wav"),
    "twice": (
        lambda at: shutil.copy(at / "bass.wav", at / "bass.flac"),
        r"both bass\.wav and bass\.flac",
    ),
    "rate": (
        lambda at: edit(at, "vocals", lambda audio, rate: (audio, 48_000)),
        r"bass\.wav is 24000 Hz, vocals\.wav 48000 Hz: stems of one song must share a sample rate",
    ),
    "length": (
        lambda at: edit(at, "other", lambda audio, rate: (audio[:-100], rate)),
        r"bass\.wav is 1\.000 s long \(24000 samples\), other\.wav 0\.996 s",
    ),
    "nan": (
        lambda at: edit(at, "drums", lambda audio, rate: (audio * np.nan, rate)),
        r"drums\.wav: NaN or infinite samples",
    ),
    "truncated": (cut_bytes, r"vocals\.wav: truncated"),
    "empty": (
        lambda at: edit(at, "bass", lambda audio, rate: (audio[:0], rate)),
        r"bass\.wav: the file holds no samples",
    ),
    "text": (
        lambda at: (at / "other.wav").write_text("these are lyrics"),
        r"other\.wav: the file can't be opened as audio",
    ),
    "silent": (
        lambda at: [edit(at, stem, lambda audio, rate: (audio * 0, rate)) for stem in STEMS],
        "all four stems are silent",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_song_says_what_is_wrong_where(tmp_path, write_song, spoil, message):
    folder = write_song(tmp_path / "songs" / "train" / "a", duration_s=1.0)
    spoil(folder)
    with pytest.raises(SongError, match=message) as caught:
        load_stems(load_song_folder(folder))
    assert str(folder) in str(caught.value)


def test_broken_songs_stop_the_listing_or_are_reported(song_root):
    (song_root / "train" / "Amber" / "bass.wav").unlink()
    with pytest.raises(SongError, match="no file for bass"):
        find_songs(song_root)
    broken = []
    songs = find_songs(song_root, on_broken=lambda folder, error: broken.append(folder.name))
    assert [song.name for song in songs] == ["Basalt", "Coral"]
    assert broken == ["Amber"]


def test_folders_that_are_no_source(tmp_path, write_song):
    with pytest.raises(SongError, match="there is no such folder"):
        find_songs(tmp_path / "nowhere")
    with pytest.raises(SongError, match="it is one song"):
        find_songs(write_song(tmp_path / "song", duration_s=0.1))
    for text in ("name: [1]", "licences: CC0-1.0", "licences: {a: 1}", "- name"):
        (tmp_path / "source.yaml").write_text(text)
        with pytest.raises(SongError, match="expected lines like"):
            find_songs(tmp_path)


def test_gating_leaves_out_what_can_not_teach(tmp_path, write_song):
    folder = write_song(tmp_path / "a", duration_s=65.0, silent=("other",))
    for stem in STEMS:
        # 10 s each: as it is, too soft, silent but for 1 s, bass alone, drums at -46 dBFS, as it is
        def change(audio, rate, stem=stem):
            audio = audio.copy()
            chunks = [audio[start : start + 240_000] for start in range(0, 1_440_000, 240_000)]
            chunks[1] *= 0.05
            chunks[2][24_000:] = 0.0
            chunks[2] *= 4.0
            chunks[3] *= stem == "bass"
            chunks[4] *= 10 ** (-21 / 20) if stem == "drums" else 1.0
            return audio, rate

        edit(folder, stem, change)
    song = load_song_folder(folder)
    scan = find_chunks(song, load_stems(song))
    assert [chunk.start_s for chunk in scan.chunks] == [0.0, 40.0, 50.0]
    assert scan.chunks[0].advised_stems == ("bass", "drums", "vocals")
    assert scan.chunks[1].audible_stems == ("bass", "vocals")
    assert dict(scan.skipped) == {
        "mixture below -35 dBFS RMS": 1,
        "fewer than 20% of frames active": 1,
        "fewer than two of bass, drums, vocals audible": 1,
    }
    assert scan.notes == ["other is silent all through"]


def test_a_song_shorter_than_a_chunk_is_one_chunk(tmp_path, write_song):
    song = load_song_folder(write_song(tmp_path / "a", duration_s=4.0))
    (chunk,) = find_chunks(song, load_stems(song)).chunks
    assert (chunk.start_s, chunk.duration_s) == (0.0, 4.0)


def test_real_songs_have_the_chunks_that_were_counted(shared_dir):
    for song in find_songs(shared_dir / "data" / "cc0-songs"):
        stems = load_stems(song)
        chunks = find_chunks(song, stems).chunks
        all_audible = sum(len(chunk.advised_stems) == 3 for chunk in chunks)
        assert (all_audible, int(stems.shape[1] / 24_000 // CHUNK_S)) == COUNTED[song.name]


def test_a_real_track_of_musdb18hq(shared_dir):
    (song,) = find_songs(shared_dir / "data" / "musdb18hq-excerpt")
    assert (song.split, song.mixture_path.name) == ("test", "mixture.wav")
    (chunk,) = find_chunks(song, load_stems(song)).chunks
    assert chunk.duration_s == pytest.approx(5.8)
    assert chunk.advised_stems == ("bass", "drums", "vocals")
