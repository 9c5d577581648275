from __future__ import annotations

import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixing_buddy import rendering, stem_store
from mixing_buddy.chunks import CHUNK_SAMPLES, find_chunks
from mixing_buddy.errors import MixingBuddyError, RecipeError, SongError
from mixing_buddy.files import replacing
from mixing_buddy.loudness import db_to_gain, k_weighted
from mixing_buddy.recipes import enumerate_recipes, sample_recipes
from mixing_buddy.rendering import (
    POWER_BLOCK,
    RenderTransform,
    parse_sources,
    powers_in_clip,
    render,
    render_recipe,
    stem_powers,
)
from mixing_buddy.schema import MODES
from mixing_buddy.songs import SAMPLE_RATE, find_songs, load_song_folder, load_stems
from mixing_buddy.stem_store import StemStore, content_identity
from mixing_buddy.stems import STEMS

BALANCED = dict.fromkeys(STEMS, 0.0)
gains_db = st.fixed_dictionaries({stem: st.floats(-24.0, 24.0) for stem in STEMS})


def noise(num_samples=2_000):
    return np.random.default_rng(0).normal(0, 0.1, (4, num_samples)).astype(np.float32)


def recipes_of(root, count=6, mode="single_mix"):
    song = find_songs(root)[-1]
    (chunk, *_) = find_chunks(song, load_stems(song)).chunks
    return list(sample_recipes(chunk, count, mode=mode))


def batch_of(recipes):
    rows = [recipe.to_row() for recipe in recipes]
    return {name: [row[name] for row in rows] for name in rows[0]}


@given(gains_db)
@settings(max_examples=30)
def test_gains_and_their_opposites_give_the_balanced_mix(gains):
    stems = noise()
    changed = np.stack([db_to_gain(gains[stem]) * stems[i] for i, stem in enumerate(STEMS)])
    undone = render(changed.astype(np.float32), {stem: -gain for stem, gain in gains.items()})
    np.testing.assert_allclose(undone, render(stems, BALANCED), atol=2e-6)


@given(gains_db)
@settings(max_examples=20)
def test_a_mix_is_the_sum_of_its_stems_rendered_alone(gains):
    stems = noise()
    mix = render(stems, gains)
    assert mix.dtype == np.float32 and mix.shape == (2_000,)
    assert mix.tobytes() == render(stems, gains).tobytes()
    alone = sum(
        render(stems * (np.arange(4) == index)[:, None].astype(np.float32), gains)
        for index in range(4)
    )
    np.testing.assert_allclose(mix, alone, atol=1e-5)


def test_a_stem_without_gain_is_left_out():
    stems = noise()
    without = render(stems, BALANCED | {"drums": None})
    assert without.tobytes() == (stems[0] + stems[2] + stems[3]).tobytes()


@given(gains_db)
@settings(max_examples=10)
def test_powers_are_those_of_the_stems_as_they_stand_in_the_mix(gains):
    stems = noise(POWER_BLOCK * 6 + 7)
    powers = powers_in_clip(stem_powers(stems), gains)
    assert powers.shape == (6, 4) and powers.dtype == np.float32
    for index, stem in enumerate(STEMS):
        alone = render(stems, dict.fromkeys(STEMS) | {stem: gains[stem]})
        np.testing.assert_allclose(powers[:, index], weighted_powers(alone), rtol=1e-3)


def weighted_powers(clip: np.ndarray) -> np.ndarray:
    count = len(clip) // POWER_BLOCK
    blocks = k_weighted(clip, SAMPLE_RATE)[: POWER_BLOCK * count].reshape(count, POWER_BLOCK)
    return (blocks**2).mean(1)


def test_wrong_stems_or_gains_are_refused():
    with pytest.raises(RecipeError, match=r"shape \(3, 2000\)"):
        render(noise()[:3], BALANCED)
    with pytest.raises(RecipeError, match="Gains for bass, guitar"):
        render(noise(), {"bass": 0.0, "guitar": 1.0})


def test_rendered_twice_is_the_same_bytes_and_cached_equals_uncached(song_root):
    for recipe in recipes_of(song_root):
        (first,) = render_recipe(recipe, {"tiny": song_root})
        (again,) = render_recipe(recipe.to_row(), {"tiny": song_root})
        assert first.tobytes() == again.tobytes()
        start = round(recipe.start_s * 24_000)
        stems = load_stems(find_songs(song_root)[-1])[:, start : start + CHUNK_SAMPLES]
        assert first.tobytes() == render(stems, recipe.stem_gains_db).tobytes()


def test_batched_equals_single_and_survives_pickling(song_root):
    recipes = recipes_of(song_root)
    transform = RenderTransform({"tiny": song_root})
    batch = transform(batch_of(recipes))
    assert batch["uid"] == [recipe.uid for recipe in recipes]
    pickled = pickle.dumps(transform)
    assert len(pickled) < 10_000
    again = pickle.loads(pickled)(batch_of(recipes))
    for recipe, audio, other in zip(recipes, batch["audio"], again["audio"], strict=True):
        assert audio.tobytes() == render_recipe(recipe, {"tiny": song_root})[0].tobytes()
        assert audio.tobytes() == other.tobytes()
    assert [powers.shape for (powers,) in batch["stem_powers"]] == [(750, 4)] * len(recipes)


def test_differential_the_needed_change_turns_a_into_b(song_root):
    transform = RenderTransform({"tiny": song_root})
    recipes = recipes_of(song_root, 12, "differential")
    for recipe in recipes:
        target_a, backing_a, target_b, backing_b = render_recipe(recipe, {"tiny": song_root})
        stems = transform.chunk_stems("tiny", "test", "Coral", recipe.start_s, recipe.duration_s)
        # The faders as A leaves them, then moved by the advice.
        faders = {stem: db_to_gain(gain_db) for stem, gain_db in recipe.stem_gains_db.items()}
        mix_a = render(stems, recipe.stem_gains_db)
        np.testing.assert_allclose(target_a + backing_a, mix_a, atol=1e-4)
        moved = np.zeros_like(mix_a)
        for stem, samples in zip(STEMS, stems, strict=True):
            in_a = samples * np.float32(faders[stem])
            moved += in_a * np.float32(db_to_gain(recipe.needed_change_db[stem]))
        np.testing.assert_allclose(moved, target_b + backing_b, atol=1e-4)
        np.testing.assert_allclose(moved, render(stems, BALANCED), atol=1e-4)
        assert np.abs(moved - mix_a).max() > 1e-2
        index = STEMS.index(recipe.target)
        assert target_b.tobytes() == stems[index].tobytes()
    batch = transform(batch_of(recipes))
    assert "audio" not in batch
    assert {len(clips) for clips in batch["clips"]} == {4}
    for recipe, clips, all_powers in zip(
        recipes, batch["clips"], batch["stem_powers"], strict=True
    ):
        # Of a stem heard alone its power is that of the clip; what is not in a clip has none.
        index = STEMS.index(recipe.target)
        expected = weighted_powers(clips[0])
        np.testing.assert_allclose(all_powers[0][:, index], expected, rtol=1e-3, atol=1e-9)
        assert not np.delete(all_powers[0], index, axis=1).any()
        assert not all_powers[1][:, index].any()


def test_stems_the_clips_add_up_to_the_mix(song_root):
    recipes = recipes_of(song_root, 12, "stems")
    singles = recipes_of(song_root, 12)
    for recipe, single in zip(recipes, singles, strict=True):
        clips = render_recipe(recipe, {"tiny": song_root})
        names = [clip.name for clip in recipe.audios]
        assert names == [recipe.anchor, *(stem for stem in STEMS if stem != recipe.anchor)]
        (mix,) = render_recipe(single, {"tiny": song_root})
        np.testing.assert_allclose(sum(clips), mix, atol=1e-5)


def test_stems_that_can_not_be_heard_are_no_clip(tmp_path, write_song):
    write_song(tmp_path / "s" / "test" / "a", duration_s=10.0, silent=("drums", "other"))
    for recipe in recipes_of(tmp_path / "s", mode="stems"):
        assert {clip.name for clip in recipe.audios} == {"bass", "vocals"}
        assert len(render_recipe(recipe, {"s": tmp_path / "s"})) == 2


def test_rows_without_a_list_of_clips_are_one_mix(song_root):
    (recipe, *_) = recipes_of(song_root)
    row = recipe.to_row()
    with_clips = render_recipe(row, {"tiny": song_root})
    del row["audios"]
    assert render_recipe(row, {"tiny": song_root})[0].tobytes() == with_clips[0].tobytes()


def test_it_works_as_the_transform_of_a_dataset(song_root):
    import datasets

    recipes = recipes_of(song_root)
    rows = datasets.Dataset.from_list([recipe.to_row() for recipe in recipes])
    rows = rows.with_transform(RenderTransform({"tiny": song_root}))
    assert rows[2]["audio"].dtype == np.float32
    assert rows[2]["audio"].tobytes() == rows[1:4]["audio"][1].tobytes()


def test_few_songs_stay_open_and_all_render(song_root, monkeypatch):
    monkeypatch.setattr(rendering, "_MAX_OPEN_SONGS", 2)
    transform = RenderTransform({"tiny": song_root})
    for _ in range(2):
        for song in find_songs(song_root):
            transform.chunk_stems("tiny", song.split, song.name, 0.0, 10.0)
    assert len(transform._open) == 2


def test_a_short_song_is_padded_to_a_whole_chunk(tmp_path, write_song):
    write_song(tmp_path / "s" / "test" / "a", duration_s=4.0)
    (recipe, *_) = recipes_of(tmp_path / "s")
    (audio,) = render_recipe(recipe, {"s": tmp_path / "s"})
    assert recipe.duration_s == 4.0
    assert audio.shape == (CHUNK_SAMPLES,)
    assert audio[:96_000].all() and not audio[96_000:].any()


def test_stems_are_decoded_once(song_root, monkeypatch, tmp_path):
    decoded = []

    def count(song, rate):
        decoded.append(song.name)
        return load_stems(song, rate)

    monkeypatch.setattr(stem_store, "load_stems", count)
    song = find_songs(song_root)[0]
    store = StemStore(tmp_path / "cache")
    with ThreadPoolExecutor(2) as pool:
        paths = set(pool.map(store.path, [song] * 4))
    assert len(paths) == 1 and len(decoded) <= 2
    decoded.clear()
    stems = store.open(song)
    assert decoded == []
    assert isinstance(stems, np.memmap) and not stems.flags.writeable
    np.testing.assert_array_equal(stems, load_stems(song))
    left = {path.suffix for path in (tmp_path / "cache").iterdir()}
    assert left - {".lock"} == {".npy"}


def test_stems_kept_as_16_bit_floats_take_half_and_sound_the_same(song_root, tmp_path):
    recipes = recipes_of(song_root)
    rendered, sizes = {}, {}
    for dtype in ("float32", "float16"):
        transform = RenderTransform({recipes[0].source: song_root}, tmp_path / "cache", dtype)
        rendered[dtype] = transform(batch_of(recipes))
        sizes[dtype] = transform.store.path(find_songs(song_root)[0]).stat().st_size
        kept = transform.store.open(find_songs(song_root)[0])
        assert kept.dtype == dtype and isinstance(kept, np.memmap)
    assert sizes["float16"] == pytest.approx(sizes["float32"] / 2, rel=0.001)
    for half, whole in zip(*(rendered[d]["clips"] for d in ("float16", "float32")), strict=True):
        for clip, other in zip(half, whole, strict=True):
            assert clip.dtype == np.float32
            error = np.mean(np.square(clip - other)) / np.mean(np.square(other))
            assert 0.0 < error < 10 ** (-66 / 10)
    for half, whole in zip(*(rendered[d]["stem_powers"] for d in sizes), strict=True):
        np.testing.assert_allclose(half, whole, rtol=2e-3, atol=1e-12)
    with pytest.raises(ValueError, match="float32 or float16, not int16"):
        StemStore(tmp_path, "int16")


def test_powers_are_measured_once_for_all_processes(song_root, tmp_path, monkeypatch):
    measured = []

    def count(stems):
        measured.append(stems.shape)
        return stem_powers(stems)

    monkeypatch.setattr(rendering, "stem_powers", count)
    recipes = recipes_of(song_root, 1)
    cache = tmp_path / "cache"

    def render_rows():
        # Another transform, as in another worker or run, that remembers nothing.
        transform = RenderTransform({recipes[0].source: song_root}, cache)
        return transform(batch_of(recipes))["stem_powers"][0][0]

    first = render_rows()
    assert len(measured) == 1
    np.testing.assert_array_equal(render_rows(), first)
    assert len(measured) == 1
    # What is damaged is measured anew, and so is what can't be kept.
    (file,) = cache.glob("*/powers-*.npy")
    file.write_bytes(b"half")
    np.testing.assert_array_equal(render_rows(), first)
    assert len(measured) == 2
    shutil.rmtree(file.parent)
    file.parent.write_bytes(b"in the way")
    np.testing.assert_array_equal(render_rows(), first)
    assert len(measured) == 3


def test_what_a_killed_process_left_is_removed(song_root, tmp_path, killed_while_writing):
    song = find_songs(song_root)[0]
    store = StemStore(tmp_path / "cache")
    path = store.path(song)
    path.unlink()
    with replacing(path) as in_work:
        left = killed_while_writing(path)
        assert {*path.parent.glob(".*.part")} == {in_work, left}
        store.path(song)
        assert [*path.parent.glob(".*.part")] == [in_work]


def test_identity_is_of_content_not_of_place(tmp_path, write_song):
    first = write_song(tmp_path / "a", duration_s=1.0, seed=1)
    identity = content_identity(load_song_folder(first))
    moved = shutil.copytree(first, tmp_path / "elsewhere" / "b")
    assert content_identity(load_song_folder(moved)) == identity
    # Same names, sizes and times, as from an archive; other samples.
    other = write_song(tmp_path / "c", duration_s=1.0, seed=2)
    for stem in STEMS:
        status = (first / f"{stem}.wav").stat()
        os.utime(other / f"{stem}.wav", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert content_identity(load_song_folder(other)) != identity


def test_recipes_and_songs_that_do_not_belong_together(song_root):
    recipe = recipes_of(song_root)[0].to_row()
    sources = {"tiny": song_root}
    for change, error, message in (
        ({"source": "other"}, RecipeError, r"source 'other' \(given: tiny\)"),
        ({"song": "Diorite"}, SongError, "no song 'Diorite' in split 'test'"),
        ({"start_s": 15.0}, RecipeError, "tiny/test/Coral: .* can't be taken from a song of 20 s"),
    ):
        with pytest.raises(error, match=message):
            render_recipe(recipe | change, sources)
    with pytest.raises(MixingBuddyError, match="without stem_gains_db"):
        RenderTransform(sources)({"source": ["tiny"], "split": ["test"], "song": ["Coral"],
                                  "start_s": [0.0], "duration_s": [10.0]})  # fmt: skip


def test_sources_are_named_by_the_user_or_by_their_folder(song_root, tmp_path):
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert parse_sources([f"mine={song_root}", str(song_root)]) == {
        "mine": song_root,
        "tiny": song_root,
    }
    with pytest.raises(SongError, match="no such folder"):
        parse_sources([f"mine={tmp_path}/nowhere"])
    with pytest.raises(SongError, match="neither '/' nor '='"):
        parse_sources([str(odd)])
    assert parse_sources([str(song_root), f"tiny={song_root}"]) == {"tiny": song_root}
    with pytest.raises(SongError, match="are both called 'tiny'"):
        parse_sources([str(song_root), f"tiny={tmp_path}"])


def test_real_songs_render(shared_dir):
    root = shared_dir / "data" / "musdb18hq-excerpt"
    song = find_songs(root)[0]
    (chunk,) = find_chunks(song, load_stems(song)).chunks
    for mode in MODES:
        for recipe in list(enumerate_recipes(chunk, mode=mode))[::5]:
            for audio in render_recipe(recipe, {root.name: root}):
                assert np.isfinite(audio).all() and np.abs(audio).max() > 0.01
