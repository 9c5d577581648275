"""Streams of rows: shared out over machines, shuffled, rendered, and trained on."""

from itertools import chain

import numpy as np
import pytest
from datasets import load_dataset
from torch.utils.data import DataLoader

from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig
from mixing_buddy.dataset_builder.building import BuildSettings, build_dataset
from mixing_buddy.dataset_builder.features import features_of
from mixing_buddy.dataset_builder.shards import merge_shards, write_rows
from mixing_buddy.errors import RecipeError
from mixing_buddy.recipes import enumerate_recipes
from mixing_buddy.rendering import RenderTransform, render_recipe
from mixing_buddy.rows import stream_rows
from mixing_buddy.schema import DIFFERENTIAL, SINGLE_MIX


@pytest.fixture
def built(song_root, tmp_path):
    """Eight shards of a training split, in two configs."""
    out = tmp_path / "tiny"
    build_dataset(
        MixingBuddyDatasetConfig(sources=(str(song_root),), sampling="sample", samples_per_chunk=8),
        out,
        BuildSettings(modes=(SINGLE_MIX, DIFFERENTIAL), rows_per_shard=4),
    )
    return out


def uids(rows):
    return [row["uid"] for row in rows]


@pytest.mark.parametrize("mode", [SINGLE_MIX, DIFFERENTIAL])
def test_machines_get_all_rows_once_in_another_order_rendered_as_ever(built, song_root, mode):
    transform = RenderTransform({"tiny": song_root})
    whole = load_dataset(str(built), mode, split="train", cache_dir=str(built.parent / "hf"))
    in_order = stream_rows(built, mode, "train", transform, shuffle_buffer_rows=0)
    assert uids(in_order) == list(whole["uid"])
    shares = [
        list(
            stream_rows(
                built, mode, "train", transform, rank=rank, world_size=4, shuffle_buffer_rows=6
            )
        )
        for rank in range(4)
    ]
    assert [len(share) for share in shares] == [8] * 4
    together = [uid for share in shares for uid in uids(share)]
    assert sorted(together) == sorted(whole["uid"]) and together != list(whole["uid"])
    for row in shares[1]:
        assert isinstance(row["target"], str)
        for clip, wanted in zip(
            row["clips"], render_recipe(_of(whole, row["uid"]), {"tiny": song_root}), strict=True
        ):
            assert clip.dtype == np.float32 and clip.tobytes() == wanted.tobytes()


def _of(rows, uid):
    return rows[list(rows["uid"]).index(uid)]


def test_each_epoch_has_its_order_and_a_seed_gives_it_again(built, song_root):
    def order(epoch, seed=0):
        rows = stream_rows(
            built, SINGLE_MIX, "train", lambda batch: {"uid": batch["uid"]},
            shuffle_buffer_rows=10, seed=seed,
        )  # fmt: skip
        rows.set_epoch(epoch)
        return uids(rows)

    first, second = order(0), order(1)
    assert order(0) == first
    assert sorted(first) == sorted(second) and first != second
    assert order(0, seed=1) != first


def test_workers_share_the_shards_of_their_machine(built, song_root):
    rows = stream_rows(
        built, SINGLE_MIX, "train", RenderTransform({"tiny": song_root}), rank=1, world_size=2
    )
    loader = DataLoader(rows, batch_size=4, num_workers=2, collate_fn=uids)
    alone = uids(rows)
    assert len(alone) == 16 and sorted(chain.from_iterable(loader)) == sorted(alone)


def test_a_stream_that_is_not_there_is_refused(built, song_root):
    with pytest.raises(RecipeError, match="split 'validation' can't be opened"):
        stream_rows(built, SINGLE_MIX, "validation", RenderTransform({}))


@pytest.mark.parametrize(
    ("num_rows", "num_shards"), [(1, 1), (4_999, 1), (34_999, 7), (35_001, 8), (70_200, 16)]
)
def test_a_big_split_has_a_multiple_of_eight_shards_of_even_size(tmp_path, num_rows, num_shards):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mixing_buddy.chunks import Chunk

    chunk = Chunk("tiny", "train", "Amber", "CC0-1.0", 0.0, 10.0, ("bass", "drums"))
    features = features_of(SINGLE_MIX)
    (row, *_) = (recipe.to_row() for recipe in enumerate_recipes(chunk))
    write_rows(tmp_path / "one.parquet", [row], features, has_audio=False)
    one = pq.read_table(tmp_path / "one.parquet")
    many = one.take(pa.array(np.zeros(num_rows, dtype=np.int64)))
    pq.write_table(many, tmp_path / "many.parquet")
    out = tmp_path / "out"
    out.mkdir()
    merge_shards(
        [tmp_path / "many.parquet"], out, "train", features, num_rows=num_rows, has_audio=False
    )
    sizes = [pq.read_metadata(path).num_rows for path in sorted(out.iterdir())]
    assert len(sizes) == num_shards and sum(sizes) == num_rows
    assert max(sizes) <= 5_000 and max(sizes) - min(sizes) <= num_shards
