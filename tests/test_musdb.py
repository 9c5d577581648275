from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mixing_buddy import musdb
from mixing_buddy.dataset_builder.report import shared_artists
from mixing_buddy.errors import SongError
from mixing_buddy.musdb import RESTRICTED, STEM_SUFFIX, VALIDATION_SONGS, read_stem
from mixing_buddy.recipes import sample_recipes
from mixing_buddy.rendering import RenderTransform, render_recipe
from mixing_buddy.songs import find_song, find_songs, load_stems, read_source
from mixing_buddy.stem_store import content_identity
from mixing_buddy.stems import STEMS


@pytest.fixture
def stem_file() -> Path:
    """The real excerpt that the stempeg package ships."""
    stempeg = pytest.importorskip("stempeg", reason="stempeg is not installed (extra `musdb`)")
    if not shutil.which("ffmpeg"):
        pytest.skip("the program ffmpeg, which stempeg runs, is not installed")
    return Path(stempeg.example_stem_path())


@pytest.fixture
def musdb18(tmp_path, stem_file) -> Path:
    root = tmp_path / "musdb18"
    for split in ("train", "test"):
        (root / split).mkdir(parents=True)
    shutil.copy(stem_file, root / "test")
    for name in ("Triviul - Angelsaint", "Triviul - Dorothy"):
        shutil.copy(stem_file, root / "train" / f"{name}{STEM_SUFFIX}")
    return root


def test_validation_songs_are_set_aside(tmp_path, write_song):
    root = tmp_path / "songs"
    for place in (
        "train/Triviul - Angelsaint",
        "train/Triviul - Dorothy",
        "test/Leaf - Summerghost",
    ):
        write_song(root / place, duration_s=0.5)
    splits = {song.name: song.split for song in find_songs(root)}
    assert splits == {
        "Triviul - Dorothy": "train",
        "Triviul - Angelsaint": "validation",
        "Leaf - Summerghost": "test",
    }
    source = read_source(root)
    song = find_song(source, "validation", "Triviul - Angelsaint")
    assert song.folder.parent.name == "train"
    for split, name in (("train", "Triviul - Angelsaint"), ("validation", "Triviul - Dorothy")):
        with pytest.raises(SongError, match="no song"):
            find_song(source, split, name)
    # A source that has a validation folder says itself what is in it.
    write_song(root / "validation" / "x", duration_s=0.5)
    splits = {song.name: song.split for song in find_songs(root)}
    assert splits["Triviul - Angelsaint"] == "train" and splits["x"] == "validation"
    assert len(VALIDATION_SONGS) == 14


def test_musdb_is_restricted_unless_told_otherwise(tmp_path, write_song):
    for root in (
        tmp_path / "MUSDB18-HQ" / "train" / "a",
        tmp_path / "b" / "train" / "Leaf - Summerghost",
    ):
        write_song(root, duration_s=0.5)
        (song,) = find_songs(root.parents[1])
        assert song.licence == RESTRICTED
    (tmp_path / "b" / "source.yaml").write_text(
        "licences:\n  Leaf - Summerghost: CC-BY-NC-SA-4.0\n"
    )
    (song,) = find_songs(tmp_path / "b")
    assert song.licence == "CC-BY-NC-SA-4.0"
    write_song(tmp_path / "own" / "train" / "a", duration_s=0.5)
    assert find_songs(tmp_path / "own")[0].licence == "unknown"


def test_artists_in_two_splits_are_found(tmp_path, write_song):
    places = ("train/Triviul - Dorothy", "train/Solo - One", "train/Solo - Two", "train/nameless",
              "test/triviul feat. The Fiend - Widow", "test/nameless")  # fmt: skip
    for place in places:
        write_song(tmp_path / "songs" / place, duration_s=0.2)
    songs = find_songs(tmp_path / "songs")
    assert {song.artist for song in songs} == {"Triviul", "Solo", "triviul feat. The Fiend", None}
    assert shared_artists(songs) == {"Triviul": ["train", "test"]}


def test_stem_files_are_songs(musdb18):
    songs = find_songs(musdb18)
    assert [(song.split, song.name) for song in songs] == [
        ("train", "Triviul - Dorothy"),
        ("validation", "Triviul - Angelsaint"),
        ("test", "The Easton Ellises - Falcon 69"),
    ]
    assert songs[2].artist == "The Easton Ellises" and songs[2].licence == RESTRICTED
    assert tuple(songs[0].stem_paths) == STEMS
    assert len({content_identity(song) for song in songs[:2]}) <= 2
    stems = load_stems(songs[2])
    assert stems.shape == (4, 146_008) and stems.dtype == np.float32
    assert (np.sqrt((stems**2).mean(1)) > 0.03).all()


def test_a_stem_file_holds_what_the_wav_files_do(stem_file, shared_dir):
    root = shared_dir / "data" / "musdb18hq-excerpt"
    (song,) = find_songs(root)
    # The excerpt in WAV files begins here in that of the package.
    start = 6615
    for stem in STEMS:
        audio, rate = read_stem(stem_file, stem)
        samples, wav_rate = soundfile.read(song.stem_paths[stem], dtype="float32")
        assert rate == wav_rate == 44_100
        part = audio.T[start : start + len(samples)]
        error = np.sqrt(((part - samples) ** 2).mean()) / np.sqrt((samples**2).mean())
        # Coding noise; another stem would give 1.4.
        assert error < 0.15


def test_stem_files_render(musdb18):
    source = read_source(musdb18)
    transform = RenderTransform({"musdb18": musdb18})
    for song in find_songs(musdb18):
        stems = transform.chunk_stems(source.name, song.split, song.name, 0.0, 6.0)
        assert np.abs(stems).max() > 0.1
    from mixing_buddy.chunks import find_chunks

    (chunk,) = find_chunks(song, load_stems(song)).chunks
    (recipe,) = sample_recipes(chunk, 1, mode="stems")
    assert len(render_recipe(recipe, {"musdb18": musdb18})) == 4


def test_damaged_stem_files_are_refused(musdb18):
    path = musdb18 / "train" / f"Triviul - Dorothy{STEM_SUFFIX}"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SongError, match=r"Dorothy\.stem\.mp4"):
        load_stems(find_songs(musdb18)[0])
    path.write_bytes(b"no audio")
    with pytest.raises(SongError, match="can't be opened"):
        find_songs(musdb18)


def test_what_is_missing_to_read_stem_files_is_said(tmp_path, monkeypatch):
    path = tmp_path / "songs" / "test" / f"a{STEM_SUFFIX}"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "stempeg", None)
    with pytest.raises(SongError, match=r"pip install \"mixing-buddy\[musdb\]\""):
        find_songs(tmp_path / "songs")
    monkeypatch.setitem(sys.modules, "stempeg", object())
    monkeypatch.setitem(sys.modules, "ffmpeg", object())
    monkeypatch.setattr(musdb.shutil, "which", lambda name: None)
    with pytest.raises(SongError, match="install ffmpeg"):
        find_songs(tmp_path / "songs")
