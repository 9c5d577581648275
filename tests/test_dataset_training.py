"""Every config of a built dataset trains as it is, alone and mixed with others."""

import pytest
import torch
from training_helpers import sample_rows

from mixing_buddy.chunks import Chunk
from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig
from mixing_buddy.dataset_builder.building import BuildSettings, build_dataset
from mixing_buddy.recipes import enumerate_recipes
from mixing_buddy.schema import DIFFERENTIAL, MODES, PREFERENCE, SINGLE_MIX, STEMS_MODE
from mixing_buddy.stems import STEMS
from mixing_buddy.training.arguments import DataArguments
from mixing_buddy.training.rows import load_rows


@pytest.fixture
def built(song_root, tmp_path, write_song):
    """All configs; one of the two training songs has no bass, so `stems` has 3 clips or 4."""
    write_song(song_root / "train" / "Basalt", duration_s=20.0, silent=("bass",))
    out = tmp_path / "dataset"
    build_dataset(
        MixingBuddyDatasetConfig(sources=(str(song_root),), sampling="sample", samples_per_chunk=2),
        out,
        BuildSettings(modes=tuple(MODES)),
    )
    return out


def load(built, song_root, *configs):
    args = DataArguments(dataset=[str(built)], songs=[str(song_root)], dataset_config=[*configs])
    return load_rows(args, "train")


def train_one_step(rows, make_tiny_buddy, trainer_for):
    """Train on a batch of all rows; return its loss and the names of weights that moved."""
    model, processor = make_tiny_buddy()
    before = {name: value.clone() for name, value in model.named_parameters()}
    trainer = trainer_for(
        model, processor, sample_rows(1), max_steps=1, warmup_steps=0,
        per_device_train_batch_size=len(rows),
    )  # fmt: skip
    trainer.train_dataset = rows
    trainer.train()
    (loss,) = (entry["loss"] for entry in trainer.state.log_history if "loss" in entry)
    return loss, {n for n, value in model.named_parameters() if not value.equal(before[n])}


@pytest.mark.parametrize(
    ("configs", "clip_counts"),
    [
        ([SINGLE_MIX], {1}),
        ([STEMS_MODE], {3, 4}),
        ([DIFFERENTIAL], {4}),
        ([PREFERENCE], {1}),
        ([SINGLE_MIX, STEMS_MODE, DIFFERENTIAL, PREFERENCE], {1, 3, 4}),
    ],
)
def test_a_config_trains_as_it_is(
    built, song_root, make_tiny_buddy, trainer_for, configs, clip_counts
):
    rows = load(built, song_root, *configs)
    # Two songs, two chunks a song, two rows a chunk; of several configs one row a song is enough.
    rows = rows.select(range(0, len(rows), len(configs)))
    assert len(rows) == 8
    assert {len(clips) for clips in rows[:]["clips"]} == clip_counts
    assert set(rows[:]["mode"]) == set(configs)
    loss, moved = train_one_step(rows, make_tiny_buddy, trainer_for)
    assert torch.tensor(loss).isfinite()
    for part in ("audio_tower", "multi_modal_projector", "layer_mix", "level_head", "embed_tokens"):
        assert any(part in name for name in moved), part


def test_joined_configs_keep_their_rows_and_have_null_for_columns_of_others(built, song_root):
    parts = {mode: load(built, song_root, mode) for mode in MODES}
    joined = load(built, song_root, *MODES)
    assert set(joined.column_names) == set().union(*(part.column_names for part in parts.values()))
    expected = [row for part in parts.values() for row in _plain(part)]
    rows = _plain(joined)
    assert len(rows) == len(expected)
    for row, wanted in zip(rows, expected, strict=True):
        assert {name: row[name] for name in wanted} == wanted
        assert all(row[name] is None for name in set(row) - set(wanted))
    for mode, columns in ((PREFERENCE, "rejected"), (DIFFERENTIAL, "tolerance_low_db")):
        assert {row["mode"] for row in rows if row[columns] is not None} == {mode}


@pytest.mark.parametrize("mode", MODES)
def test_nanos_tokenizer_knows_every_word_of_every_mode(mode, tiny_buddy):
    tokenizer = tiny_buddy[1].tokenizer
    split = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str
    chunk = Chunk("tiny", "train", "Amber", "CC0-1.0", 0.0, 10.0, STEMS)
    kinds = set()
    for seed in range(6):
        for recipe in enumerate_recipes(chunk, mode=mode, base_seed=seed):
            kinds.add(recipe.prompt_category)
            for text in (recipe.instruction, recipe.response, recipe.rejected or ""):
                assert tokenizer.tokenize(text) == [word for word, _ in split(text)]
    assert len(kinds) == (4 if mode in (SINGLE_MIX, STEMS_MODE) else 1)


def _plain(rows):
    return rows.with_format(None).to_list()
