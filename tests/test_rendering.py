from __future__ import annotations

import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixing_buddy import rendering
from mixing_buddy.chunks import CHUNK_SAMPLES, find_chunks
from mixing_buddy.errors import MixingBuddyError, RecipeError, SongError
from mixing_buddy.loudness import db_to_gain
from mixing_buddy.recipes import enumerate_recipes, sample_recipes
from mixing_buddy.rendering import (
    RenderTransform,
    StemStore,
    content_identity,
    parse_sources,
    render,
    render_recipe,
)
from mixing_buddy.songs import find_songs, load_song_folder, load_stems
from mixing_buddy.stems import STEMS

BALANCED = dict.fromkeys(STEMS, 0.0)
gains_db = st.fixed_dictionaries({stem: st.floats(-24.0, 24.0) for stem in STEMS})


def noise(num_samples=2_000):
    return np.random.default_rng(0).normal(0, 0.1, (4, num_samples)).astype(np.float32)


def recipes_of(root, count=6):
    song = find_songs(root)[-1]
    (chunk, *_) = find_chunks(song, load_stems(song)).chunks
    return list(sample_recipes(chunk, count))


def batch_of(recipes):
    rows = [recipe.to_row() for recipe in recipes]
    return {name: [row[name] for row in rows] for name in rows[0]}


@given(gains_db)
@settings(max_examples=30, deadline=None)
def test_gains_and_their_opposites_give_the_balanced_mix(gains):
    stems = noise()
    changed = np.stack([db_to_gain(gains[stem]) * stems[i] for i, stem in enumerate(STEMS)])
    undone = render(changed.astype(np.float32), {stem: -gain for stem, gain in gains.items()})
    np.testing.assert_allclose(undone, render(stems, BALANCED), atol=2e-6)


@given(gains_db)
@settings(max_examples=20, deadline=None)
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


def test_wrong_stems_or_gains_are_refused():
    with pytest.raises(RecipeError, match=r"shape \(3, 2000\)"):
        render(noise()[:3], BALANCED)
    with pytest.raises(RecipeError, match="Gains for bass, guitar"):
        render(noise(), {"bass": 0.0, "guitar": 1.0})


def test_rendered_twice_is_the_same_bytes_and_cached_equals_uncached(song_root):
    for recipe in recipes_of(song_root):
        first = render_recipe(recipe, {"tiny": song_root})
        assert first.tobytes() == render_recipe(recipe.to_row(), {"tiny": song_root}).tobytes()
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
        assert audio.tobytes() == render_recipe(recipe, {"tiny": song_root}).tobytes()
        assert audio.tobytes() == other.tobytes()


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
    audio = render_recipe(recipe, {"s": tmp_path / "s"})
    assert recipe.duration_s == 4.0
    assert audio.shape == (CHUNK_SAMPLES,)
    assert audio[:96_000].all() and not audio[96_000:].any()


def test_stems_are_decoded_once(song_root, monkeypatch, tmp_path):
    decoded = []

    def count(song, rate):
        decoded.append(song.name)
        return load_stems(song, rate)

    monkeypatch.setattr(rendering, "load_stems", count)
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
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npy"]


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
        ({"start_s": 15.0}, RecipeError, "can't be taken from a song of 20 s"),
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


def test_real_songs_render(shared_dir):
    root = shared_dir / "data" / "musdb18hq-excerpt"
    song = find_songs(root)[0]
    (chunk,) = find_chunks(song, load_stems(song)).chunks
    for recipe in enumerate_recipes(chunk):
        audio = render_recipe(recipe, {root.name: root})
        assert np.isfinite(audio).all() and np.abs(audio).max() > 0.05
