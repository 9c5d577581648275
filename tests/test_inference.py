"""Listening to real and synthetic songs through the library."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from mixing_buddy.advice import Advice
from mixing_buddy.advising.combining import SongAdvice, combine
from mixing_buddy.advising.comparing import SongComparison
from mixing_buddy.advising.inference import MixingBuddy
from mixing_buddy.advising.inputs import open_song
from mixing_buddy.advising.questions import list_questions, word_question
from mixing_buddy.advising.windows import read_windows
from mixing_buddy.cli import app
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


def test_tracks_are_heard_one_by_one_the_anchor_first(tmp_path):
    stems = load_stems(load_song_folder(EXAMPLE))
    mixes = read_windows(EXAMPLE)
    windows = read_windows(EXAMPLE, faders_db={"vocals": -6.0}, mode="stems")
    for mix, window in zip(mixes, windows, strict=True):
        assert (mix.mode, window.mode) == ("single_mix", "stems")
        assert mix.names_heard("drums") == ["mix"]
        assert window.names_heard("drums")[0] == "drums"
        assert sorted(window.names_heard("drums")) == sorted(window.audible_stems)
        start = round(window.start_s * SAMPLE_RATE)
        for stem, track in window.tracks.items():
            gain = 10 ** (-6 / 20) if stem == "vocals" else 1.0
            part = stems[STEMS.index(stem), start : start + len(track)]
            np.testing.assert_allclose(track, gain * part, atol=1e-5)
    soundfile.write(tmp_path / "mix.wav", mixes[0].clip, SAMPLE_RATE)
    with pytest.raises(MixingBuddyError, match="one by one"):
        read_windows(tmp_path / "mix.wav", mode="stems")


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
    song = nano.advise(EXAMPLE.with_name("generated"), faders_db={"vocals": -9.0})
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


@pytest.fixture
def songs(tmp_path, write_song) -> list[Path]:
    """Three songs of different lengths."""
    folder = tmp_path / "songs"
    return [
        write_song(folder / name, duration_s=duration_s, seed=seed)
        for seed, (name, duration_s) in enumerate([("a", 20.0), ("b/deep", 7.0), ("c", 31.0)])
    ]


@pytest.mark.parametrize("mode", ["single_mix", "stems"])
@pytest.mark.parametrize("words", [None, "The singer drowns. What would you do?"])
def test_windows_asked_about_together_get_the_answers_of_clips_asked_alone(nano, words, mode):
    asked = list_questions(read_windows(EXAMPLE, faders_db={"vocals": -6.0}, mode=mode))
    found = nano.ask(asked, question=words, with_ranking=True)
    samples = [[window.heard[name] for name in window.names_heard(stem)] for window, stem in asked]
    answers = nano.answer(
        samples,
        [word_question(window, stem, words) for window, stem in asked],
        silent_stems=[set(STEMS) - set(window.audible_stems) for window, _ in asked],
    )
    assert [answer.advice.text for answer, _ in found] == answers
    rankings = nano.rank(
        samples,
        [stem for _, stem in asked],
        stems=[window.audible_stems for window, _ in asked],
        mode=mode,
    )
    for (_, ranking), expected in zip(found, rankings, strict=True):
        np.testing.assert_allclose(ranking.log_probs, expected.log_probs, atol=1e-3)


@pytest.mark.parametrize("mode", ["single_mix", "stems"])
def test_each_clip_is_encoded_once(nano, monkeypatch, mode):
    counts = []
    encode = nano.model.model.encode

    def counted(values, *arguments):
        counts.append(len(values))
        return encode(values, *arguments)

    monkeypatch.setattr(nano.model.model, "encode", counted)
    monkeypatch.setattr(nano, "batch_size", 4)
    num_asked = len(nano.advise(EXAMPLE, mode=mode).windows)
    windows = read_windows(EXAMPLE, mode=mode)
    num_clips = sum(len(window.heard) for window in windows)
    assert sum(counts) == num_clips
    assert len(windows) < num_asked


def test_tracks_are_heard_where_the_model_knows_them(nano, tmp_path, monkeypatch):
    (tmp_path / "mix.flac").write_bytes((EXAMPLE / "drums.flac").read_bytes())
    tracks, mix = open_song(EXAMPLE), open_song(tmp_path / "mix.flac")
    assert (nano.usual_mode(tracks), nano.usual_mode(mix)) == ("stems", "single_mix")
    assert nano.advise(EXAMPLE) == nano.advise(EXAMPLE, mode="stems")
    assert nano.advise(EXAMPLE) != nano.advise(EXAMPLE, mode="single_mix")
    monkeypatch.setattr(nano.model.config, "trained_modes", ["single_mix"])
    assert nano.usual_mode(tracks) == "single_mix"
    assert nano.advise(EXAMPLE) == nano.advise(EXAMPLE, mode="single_mix")


def test_a_question_may_not_hold_the_mark_of_a_clip(nano):
    with pytest.raises(MixingBuddyError, match="leave it out"):
        nano.advise(EXAMPLE, question=f"What of {nano.processor.audio_token}?")


def _without_figures(advice: SongAdvice) -> dict:
    figures = ("confidence", "balanced_probability")
    return {name: value for name, value in advice.to_dict().items() if name not in figures}


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_many_songs_get_the_advice_of_each_alone(nano, songs, monkeypatch, batch_size):
    alone = [nano.advise(song, measure=True) for song in songs]
    monkeypatch.setattr(nano, "batch_size", batch_size)
    bad = [songs[0].parent / "absent", songs[0].parent]
    given = [songs[0], bad[0], *songs[1:], bad[1]]
    results = list(nano.advise_many(given, measure=True))
    assert [result.path for result in results] == given
    assert "no such file" in str(results[1].error) and "no audio files" in str(results[-1].error)
    good = [result for result in results if result.error is None]
    for result, expected in zip(good, alone, strict=True):
        assert _without_figures(result.advice) == _without_figures(expected)
        assert result.advice.confidence == pytest.approx(expected.confidence, abs=1e-5)
        assert SongAdvice.from_json(result.advice.to_json()) == result.advice


def test_a_song_that_breaks_in_the_middle_takes_no_other_with_it(nano, songs):
    path = songs[2] / "bass.wav"
    audio, sample_rate = soundfile.read(path, dtype="float32")
    audio[-sample_rate:] = np.nan
    soundfile.write(path, audio, sample_rate, subtype="FLOAT")
    given = [songs[0], songs[2], songs[1]]
    results = list(nano.advise_many(given, with_confidence=False))
    assert ["NaN" in str(result.error) for result in results] == [False, True, False]
    assert results[2].advice == nano.advise(songs[1], with_confidence=False)


def test_an_option_that_is_wrong_for_all_songs_raises(nano, songs):
    with pytest.raises(MixingBuddyError, match="choose one of"):
        list(nano.advise_many(songs, anchor="other"))


def test_windows_come_as_they_are_done(nano, songs, monkeypatch):
    monkeypatch.setattr(nano, "batch_size", 1)
    heard = nano.listen(songs[2])
    first = next(heard)
    assert first.start_s == 0.0
    assert combine([first, *heard]) == nano.advise(songs[2], with_confidence=False)


def test_compare_and_apply_undo_a_flaw(nano, songs, tmp_path):
    advice = Advice("Raise the vocals.", "vocals", Direction.RAISE, 3.0, 6.0)
    export = nano.apply(songs[0], advice, tmp_path / "out")
    compared = nano.compare(songs[0], export.folder, anchor="drums")
    assert isinstance(compared, SongComparison)
    assert compared.changes_db["vocals"] == pytest.approx(4.5, abs=0.05)
    inferred = nano.compare(songs[0] / "bass.wav", songs[0])
    # Tracks are heard as the mix that they are compared with is.
    expected = nano.advise(songs[0], measure=True, mode="single_mix")
    assert inferred.reference == expected


def test_half_precision_on_the_device_that_was_named():
    buddy = MixingBuddy.from_pretrained(device="cpu", dtype="bfloat16")
    assert buddy.model.dtype is torch.bfloat16 and buddy.model.device.type == "cpu"
    assert buddy.advise(EXAMPLE).direction is not None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "gramophone"}, "choose auto, cpu"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"dtype": "int8"}, "bfloat16"),
        ({"quantization": "nf3"}, "nf4"),
    ],
)
def test_devices_and_precisions_that_are_none_are_told(settings, message):
    with pytest.raises(MixingBuddyError, match=message):
        MixingBuddy.from_pretrained(**settings)


def test_quantised_weights_without_their_library_are_told(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MixingBuddyError, match="need bitsandbytes"):
        MixingBuddy.from_pretrained(quantization="nf4")


def test_a_folder_of_songs_gets_a_line_each_and_goes_on(songs, tmp_path):
    folder, out = songs[0].parent, tmp_path / "advice.jsonl"
    (folder / "broken.wav").write_bytes(b"RIFF")

    def run(*more: str):
        return CliRunner().invoke(app, ["advise", str(folder), "--batch", str(out), *more])

    def rows() -> list[dict]:
        return [json.loads(line) for line in out.read_text().splitlines()]

    first = run()
    assert first.exit_code == 1 and "3 of 4 songs" in first.output
    told = {row["song_path"]: row for row in rows()}
    assert set(told) == {str(folder / "broken.wav"), *map(str, songs)}
    assert "error" in told[str(folder / "broken.wav")]
    assert told[str(songs[0])]["schema"] == "mixing-buddy/advice"
    # Broken off in the middle of a line, after one song.
    kept = next(line for line in out.read_text().splitlines() if str(songs[1]) in line)
    out.write_text(kept + "\n" + kept[:40])
    (folder / "broken.wav").unlink()
    again = run()
    assert again.exit_code == 0, again.output
    assert out.read_text().startswith(kept + "\n")
    assert sorted(row["song_path"] for row in rows()) == sorted(map(str, songs))
    before = out.read_bytes()
    assert run().exit_code == 0 and out.read_bytes() == before
    assert "other settings (anchor)" in str(run("--anchor", "drums").exception)
    assert run("--json").exit_code == 2
    out.write_text("no advice\n")
    assert "this is no advice" in str(run().exception) and out.read_text() == "no advice\n"


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
