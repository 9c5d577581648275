"""Generated songs: the same seed gives the same bytes, and levels are what they are said to be."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mixing_buddy.generated_songs import (
    GenerationError,
    SynthesiserError,
    find_soundfonts,
    generate_song,
    generate_songs,
)
from mixing_buddy.generated_songs import soundfonts as soundfonts_module
from mixing_buddy.generated_songs.balance import integrated_loudness_lufs
from mixing_buddy.generated_songs.composition import compose_plan
from mixing_buddy.generated_songs.drums import play_drums
from mixing_buddy.generated_songs.melody import MELODY_STYLES, play_melody
from mixing_buddy.generated_songs.parts import ACCOMPANIMENT_ROLES, play_accompaniment, play_bass
from mixing_buddy.generated_songs.soundfonts import load_instruments
from mixing_buddy.generated_songs.voice import draw_singer, sing
from mixing_buddy.loudness import loudness_lufs
from mixing_buddy.songs import find_songs, read_source
from mixing_buddy.stems import STEMS

RATE = 24_000
DURATION_S = 12.0

needs_synthesiser = pytest.mark.skipif(
    importlib.util.find_spec("tinysoundfont") is None
    or importlib.util.find_spec("pretty_midi") is None,
    reason="sampled instruments need pretty_midi, and: pip install --no-deps tinysoundfont",
)


@pytest.fixture(scope="session")
def soundfont() -> Path:
    """The SoundFont that comes by pip."""
    spec = importlib.util.find_spec("pretty_midi")
    return Path(spec.origin).with_name("TimGM6mb.sf2")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, soundfont: Path) -> Path:
    """Two songs, by one process."""
    out = tmp_path_factory.mktemp("corpus")
    generate_songs(out, count=2, seed=7, duration_s=DURATION_S, soundfonts=[soundfont])
    return out


def _read(folder: Path) -> dict[str, np.ndarray]:
    return {stem: soundfile.read(folder / f"{stem}.flac")[0] for stem in STEMS}


@needs_synthesiser
def test_layout_is_that_of_musdb18_hq(corpus: Path) -> None:
    songs = find_songs(corpus)
    assert [(song.split, song.name) for song in songs] == [
        ("train", "song-00000"),
        ("train", "song-00001"),
    ]
    for song in songs:
        for path in song.stem_paths.values():
            info = soundfile.info(path)
            assert (info.samplerate, info.channels, info.subtype) == (RATE, 1, "PCM_16")
            assert info.frames == DURATION_S * RATE
        assert not list(song.folder.parent.glob(".*"))
    source = read_source(corpus)
    assert (source.name, source.licence) == (corpus.name, "CC0-1.0")


@needs_synthesiser
def test_two_processes_write_the_same_bytes_as_one(
    corpus: Path, soundfont: Path, tmp_path: Path
) -> None:
    generate_songs(
        tmp_path, count=2, seed=7, duration_s=DURATION_S, soundfonts=[soundfont], num_proc=2
    )
    for folder in sorted((corpus / "train").iterdir()):
        for path in sorted(folder.iterdir()):
            assert path.read_bytes() == (tmp_path / "train" / folder.name / path.name).read_bytes()


@needs_synthesiser
def test_a_song_does_not_depend_on_what_was_made_before(corpus: Path, soundfont: Path) -> None:
    stems, _ = generate_song(7, 1, duration_s=DURATION_S, soundfonts=[soundfont])
    written = _read(corpus / "train" / "song-00001")
    for stem in STEMS:
        assert np.abs(stems[stem] - written[stem]).max() <= 1 / 32768


@needs_synthesiser
def test_loudness_is_convention_plus_deviation_plus_offset(corpus: Path) -> None:
    for folder in sorted((corpus / "train").iterdir()):
        balance = json.loads((folder / "song.json").read_text())["balance"]
        for stem, audio in _read(folder).items():
            parts = balance["stems"][stem]
            told = parts["convention_lu"] + parts["deviation_db"] + balance["offset_lufs"]
            assert loudness_lufs(audio, RATE) == pytest.approx(told, abs=0.3)
            assert parts["loudness_lufs"] == pytest.approx(told, abs=0.05)
        mix = sum(_read(folder).values())
        assert np.abs(mix).max() < 1.0
        assert loudness_lufs(mix, RATE) == pytest.approx(balance["mix_loudness_lufs"], abs=0.3)


@needs_synthesiser
def test_spread_of_zero_is_the_convention(soundfont: Path) -> None:
    _, song = generate_song(3, duration_s=6.0, spread_db=0.0, soundfonts=[soundfont])
    assert all(stem["deviation_db"] == 0.0 for stem in song["balance"]["stems"].values())


@needs_synthesiser
def test_seed_index_and_split_each_give_another_song(soundfont: Path) -> None:
    settings = {"duration_s": 6.0, "soundfonts": [soundfont]}
    songs = [
        generate_song(0, 0, "train", **settings)[0],
        generate_song(1, 0, "train", **settings)[0],
        generate_song(0, 1, "train", **settings)[0],
        generate_song(0, 0, "test", **settings)[0],
    ]
    mixes = [sum(stems.values()) for stems in songs]
    for index, mix in enumerate(mixes):
        for other in mixes[:index]:
            assert abs(np.corrcoef(mix, other)[0, 1]) < 0.5


@needs_synthesiser
def test_finished_songs_are_kept_and_more_can_be_added(soundfont: Path, tmp_path: Path) -> None:
    settings = {"seed": 1, "duration_s": 6.0, "soundfonts": [soundfont]}
    (first,) = generate_songs(tmp_path, count=1, **settings)
    before = (first / "bass.flac").stat().st_mtime_ns
    unfinished = tmp_path / "train" / ".song-00001.unfinished"
    unfinished.mkdir()
    (unfinished / "bass.flac").write_bytes(b"half a file")
    folders = generate_songs(tmp_path, count=2, **settings)
    assert (first / "bass.flac").stat().st_mtime_ns == before
    assert sorted(path.name for path in folders[1].iterdir()) == [
        *(f"{stem}.flac" for stem in STEMS[:3]),
        "song.json",
        "vocals.flac",
    ]
    with pytest.raises(GenerationError, match=r"song-00000.*spread_db is 2\.5, now 3\.0"):
        generate_songs(tmp_path, count=1, spread_db=3.0, **settings)
    (first / "song.json").unlink()
    with pytest.raises(GenerationError, match="in the way"):
        generate_songs(tmp_path, count=1, **settings)


@needs_synthesiser
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "count is 0"),
        ({"seed": -1}, "seed -1"),
        ({"duration_s": 1.0}, "duration_s is 1.0"),
        ({"duration_s": math.nan}, "duration_s is nan"),
        ({"spread_db": -1.0}, "spread_db is -1.0"),
        ({"split": "../train"}, "plain folder name"),
        ({"sample_rate": 8000}, "8000 Hz"),
        ({"soundfonts": ["missing.sf2"]}, "missing.sf2 is not a file"),
    ],
)
def test_wrong_settings_are_told(settings: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises((GenerationError, SynthesiserError), match=message):
        generate_songs(tmp_path / "out", **{"count": 1, **settings})
    assert not (tmp_path / "out").exists()


@needs_synthesiser
def test_a_file_that_is_no_soundfont_is_told(tmp_path: Path) -> None:
    path = tmp_path / "fake.sf2"
    path.write_bytes(b"not a SoundFont")
    with pytest.raises(SynthesiserError, match=r"fake\.sf2 could not be loaded"):
        generate_songs(tmp_path / "out", count=1, soundfonts=[path])


def test_missing_synthesiser_and_soundfonts_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(soundfonts_module, "SYSTEM_SOUNDFONTS", (tmp_path / "none.sf2",))
    monkeypatch.setattr(soundfonts_module, "find_spec", lambda name: None)
    with pytest.raises(SynthesiserError, match="pip install --no-deps tinysoundfont"):
        generate_songs(tmp_path / "out", count=1)
    with pytest.raises(SynthesiserError, match=r"fluid-soundfont-gm.*--soundfont"):
        find_soundfonts()


@needs_synthesiser
def test_a_single_soundfont_is_warned_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(soundfonts_module, "SYSTEM_SOUNDFONTS", (tmp_path / "none.sf2",))
    with pytest.warns(UserWarning, match="only one SoundFont"):
        assert [path.name for path in find_soundfonts()] == ["TimGM6mb.sf2"]
    monkeypatch.setattr(soundfonts_module, "SYSTEM_SOUNDFONTS", (Path(__file__),))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(find_soundfonts()) == 2


@pytest.mark.parametrize("seed", range(30))
def test_parts_stay_within_their_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plan = compose_plan(rng, 30.0)
    assert 65 <= plan.groove.tempo_bpm <= 175
    last = plan.sections[-1]
    bar_s = plan.groove.step_s * plan.groove.steps_per_bar
    assert (last.start_bar + last.num_bars) * bar_s >= 30.0
    parts = [play_drums(rng, plan)[0], play_bass(rng, plan)[0]]
    parts += [
        play_accompaniment(rng, plan, role, may_rest=False)[0] for role in ACCOMPANIMENT_ROLES
    ]
    melodies = [play_melody(rng, plan, style, 50, 67)[0] for style in MELODY_STYLES]
    for notes in parts + melodies:
        assert notes
        for note in notes:
            assert note.start_s >= 0 and note.duration_s > 0
            assert 0 <= note.pitch <= 127 and 0 < note.velocity <= 1
    for notes in melodies:
        assert all(50 <= note.pitch <= 67 for note in notes)
        for note, following in itertools.pairwise(notes):
            assert note.start_s + note.duration_s <= following.start_s


@needs_synthesiser
def test_sampled_notes_sound_alike_after_any_other_notes(soundfont: Path) -> None:
    font = load_instruments(soundfont, RATE)
    rng = np.random.default_rng(0)
    plan = compose_plan(rng, 6.0)
    bass, drums = play_bass(rng, plan)[0], play_drums(rng, plan)[0]
    first = font.render(bass, 33, 6 * RATE)
    font.render(drums, 0, RATE, is_drums=True)
    assert np.array_equal(first, font.render(bass, 33, 6 * RATE))
    assert np.abs(first).max() > 0.01


def test_the_voice_sings_in_tune() -> None:
    rng = np.random.default_rng(1)
    plan = compose_plan(rng, 8.0)
    notes = [note._replace(pitch=57) for note in play_melody(rng, plan, "long", 50, 62)[0]]
    audio = sing(rng, notes, draw_singer(rng, "long"), 8 * RATE, RATE)
    assert audio.shape == (8 * RATE,) and np.isfinite(audio).all()
    power = np.abs(np.fft.rfft(audio)) ** 2
    hz = np.fft.rfftfreq(len(audio), 1 / RATE)
    harmonic = np.abs(hz / 220 - np.round(hz / 220)) < 0.12
    band = (hz > 100) & (hz < 1500)
    assert power[band & harmonic].sum() > 0.8 * power[band].sum()


@pytest.mark.parametrize("sample_rate", [16_000, 24_000, 44_100, 48_000])
def test_loudness_agrees_with_torchaudio(sample_rate: int) -> None:
    rng = np.random.default_rng(sample_rate)
    audio = 0.1 * rng.standard_normal(5 * sample_rate)
    audio[2 * sample_rate : 3 * sample_rate] *= 1e-4  # a rest, for the gates
    ours = integrated_loudness_lufs(audio, sample_rate)
    assert ours == pytest.approx(loudness_lufs(audio, sample_rate), abs=0.2)
    assert integrated_loudness_lufs(audio * 0.5, sample_rate) == pytest.approx(ours - 6.02, abs=0.1)


def test_silence_has_no_loudness() -> None:
    assert integrated_loudness_lufs(np.zeros(RATE), RATE) == -math.inf
    assert integrated_loudness_lufs(np.zeros(10), RATE) == -math.inf
    assert integrated_loudness_lufs(np.zeros(0), RATE) == -math.inf


def test_workers_need_no_torch() -> None:
    code = "import sys, mixing_buddy.generated_songs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
