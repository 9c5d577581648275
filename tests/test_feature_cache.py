"""Cached encoder states: the same losses as without, and never half a file."""

import itertools
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from training_helpers import as_rendered, sample_rows

from mixing_buddy.collation import SFTCollator
from mixing_buddy.files import replacing
from mixing_buddy.training.feature_cache import (
    CachedCollator,
    FeatureCache,
    FeatureCacheError,
    encoder_key,
    fill,
    use_feature_cache,
)

ONE_PROCESS = {"process_index": 0, "num_processes": 1, "is_main_process": True}


def accelerator_of(**facts) -> SimpleNamespace:
    return SimpleNamespace(
        **{**ONE_PROCESS, **facts}, wait_for_everyone=lambda: None, print=lambda *args: None
    )


ARGS = SimpleNamespace(dataloader_num_workers=0, disable_tqdm=True)


@pytest.fixture
def frozen_buddy(make_tiny_buddy):
    """A tiny random model whose encoder is frozen, with dropout that must not be heard."""
    model, processor = make_tiny_buddy(hidden_dropout=0.3, attention_dropout=0.3)
    model.model.audio_tower.requires_grad_(False)
    return model, processor


@pytest.fixture
def filled(frozen_buddy, tmp_path):
    """A model, its processor, rows of two lengths and a cache of their clips."""
    model, processor = frozen_buddy
    rows = sample_rows(5)
    rows[1]["clips"] = [rows[1]["clips"][0][:30_001]]
    cache = FeatureCache(tmp_path, model.model.audio_tower)
    fill(cache, model.model, processor, rows, accelerator_of(), ARGS)
    return model, processor, rows, cache


def entries(cache: FeatureCache) -> list[str]:
    return sorted(path.stem for path in cache.folder.rglob("*.safetensors"))


def count_encoded(model) -> list[int]:
    """Note how many clips a model encodes from now on."""
    encoded: list[int] = []
    forward = model.model.audio_tower.forward

    def counting(values, *args, **kwargs):
        encoded.append(len(values))
        return forward(values, *args, **kwargs)

    model.model.audio_tower.forward = counting
    return encoded


def test_cached_states_are_those_that_the_model_computes(filled):
    model, processor, rows, cache = filled
    assert len(entries(cache)) == 5
    batch = SFTCollator(processor)(rows)
    cached = CachedCollator(SFTCollator(processor), cache)(rows)
    assert "input_values" not in cached
    lengths = batch["input_values_mask"].sum(-1).tolist()
    with torch.no_grad():
        states = torch.stack(model.model.encode(batch["input_values"], lengths), dim=1)
        model.train()
        torch.manual_seed(0)
        loss = model(**batch).loss
        torch.manual_seed(0)
        assert torch.equal(model(**cached).loss, loss)
    assert torch.equal(cached["encoder_states"], states)


def test_a_frozen_encoder_hears_the_same_whatever_the_rest_is_trained_in(frozen_buddy):
    model, processor = frozen_buddy
    values = SFTCollator(processor)(sample_rows(2))["input_values"]
    plain = model.model.encode(values)
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model.model.encode(values)
    assert all(torch.equal(*pair) for pair in zip(plain, mixed, strict=True))


def losses_of(trainer) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("bf16", [False, True])
def test_sft_learns_the_same_from_the_cache(
    make_tiny_buddy, trainer_for, tmp_path, monkeypatch, bf16
):
    losses = {}
    for cached in (False, True):
        model, processor = make_tiny_buddy(hidden_dropout=0.3)
        model.model.audio_tower.requires_grad_(False)
        trainer = trainer_for(
            model,
            processor,
            sample_rows(6),
            per_device_train_batch_size=2,
            max_steps=4,
            bf16=bf16,
        )
        if cached:
            use_feature_cache(trainer, tmp_path / "cache")
            encoded = count_encoded(model)
        losses[cached] = losses_of(trainer)
    assert encoded == []
    assert losses[True] == losses[False]


def test_dpo_learns_the_same_from_the_cache(make_tiny_buddy, tmp_path):
    import copy

    from trl import DPOConfig

    from mixing_buddy.training.dpo import MixingBuddyDPOTrainer
    from mixing_buddy.training.preference_collation import PreferenceCollator

    samples = sample_rows(4)
    rows = [
        {
            **row,
            "chosen": row["response"],
            "rejected": other["response"],
            "rejected_kind": "wrong_stem",
        }
        for row, other in zip(samples, samples[1:] + samples[:1], strict=True)
    ]
    losses = {}
    for cached in (False, True):
        model, processor = make_tiny_buddy(hidden_dropout=0.3)
        trainer = MixingBuddyDPOTrainer(
            model=model,
            ref_model=copy.deepcopy(model).requires_grad_(False).eval(),
            args=DPOConfig(
                output_dir=str(tmp_path / "run"),
                per_device_train_batch_size=2,
                max_steps=3,
                learning_rate=1e-2,
                logging_steps=1,
                remove_unused_columns=False,
                max_length=None,
                use_cpu=True,
                bf16=False,
                report_to="none",
                disable_tqdm=True,
                save_strategy="no",
            ),
            train_dataset=Dataset.from_list(rows).with_transform(as_rendered),
            data_collator=PreferenceCollator(processor),
            processing_class=processor,
            frozen=("audio_tower",),
        )
        if cached:
            use_feature_cache(trainer, tmp_path / "cache")
            encoded = count_encoded(model)
        losses[cached] = losses_of(trainer)
    assert encoded == []
    assert len(set(losses[True])) == 3
    assert losses[True] == losses[False]


def test_a_stopped_pass_goes_on_and_half_a_file_is_thrown_away(filled, killed_while_writing):
    model, processor, rows, cache = filled
    before = {key: cache.load(key).clone() for key in entries(cache)}
    lost = cache.path(entries(cache)[2])
    left = killed_while_writing(lost)
    lost.unlink()
    encoded = count_encoded(model)
    with replacing(lost) as in_work:
        fill(cache, model.model, processor, rows, accelerator_of(), ARGS)
        assert encoded == [1]
        assert not left.exists()
        assert in_work.exists()
        shutil.copy(lost, in_work)  # which takes the name when the block ends
    assert entries(cache) == sorted(before)
    for key, states in before.items():
        torch.testing.assert_close(cache.load(key), states)


def test_processes_share_the_rows(frozen_buddy, tmp_path):
    model, processor = frozen_buddy
    rows = sample_rows(5)
    cache = FeatureCache(tmp_path, model.model.audio_tower)
    for rank, so_far in enumerate((3, 5)):
        accelerator = accelerator_of(process_index=rank, num_processes=2)
        fill(cache, model.model, processor, rows, accelerator, ARGS)
        assert len(entries(cache)) == so_far


def test_clips_heard_by_several_rows_are_stored_once(frozen_buddy, tmp_path):
    model, processor = frozen_buddy
    rows = sample_rows(2) + sample_rows(2)
    cache = FeatureCache(tmp_path, model.model.audio_tower)
    fill(cache, model.model, processor, rows, accelerator_of(), ARGS)
    assert len(entries(cache)) == 2
    on_disk = sum(path.stat().st_size for path in cache.folder.rglob("*.safetensors"))
    assert on_disk == pytest.approx(2 * cache.num_bytes(48_000), rel=0.02)


def test_another_encoder_has_another_cache(make_tiny_buddy):
    model, _ = make_tiny_buddy()
    encoder = model.model.audio_tower
    keys = [encoder_key(encoder)]
    with torch.no_grad():
        encoder.feature_projection.projection.bias[0] += 1e-6
    keys.append(encoder_key(encoder))
    keys.append(encoder_key(encoder.to(torch.bfloat16)))
    model.set_attn_implementation("eager")
    keys.append(encoder_key(encoder))
    assert len(set(keys)) == 4
    assert encoder_key(encoder) == keys[-1]


def test_a_clip_that_changed_is_named(filled):
    _, processor, rows, cache = filled
    rows[0]["clips"] = [rows[0]["clips"][0] + np.float32(0.001)]
    with pytest.raises(FeatureCacheError, match="same, sample by sample"):
        CachedCollator(SFTCollator(processor), cache)(rows)


def test_a_damaged_file_is_named(filled):
    _, processor, rows, cache = filled
    path = cache.path(entries(cache)[0])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FeatureCacheError, match=path.stem):
        CachedCollator(SFTCollator(processor), cache)(rows)


def test_a_full_disk_is_refused_before_anything_is_encoded(frozen_buddy, tmp_path, monkeypatch):
    model, processor = frozen_buddy
    cache = FeatureCache(tmp_path, model.model.audio_tower)
    free = 4 * cache.num_bytes(48_000) - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    encoded = count_encoded(model)
    with pytest.raises(FeatureCacheError, match="another disk"):
        fill(cache, model.model, processor, sample_rows(4), accelerator_of(), ARGS)
    assert encoded == []
    fill(cache, model.model, processor, sample_rows(3), accelerator_of(), ARGS)
    assert len(entries(cache)) == 3


def test_what_can_not_be_cached_is_refused(make_tiny_buddy, trainer_for, tmp_path):
    model, processor = make_tiny_buddy()
    trainer = trainer_for(model, processor, sample_rows(2))
    with pytest.raises(FeatureCacheError, match="frozen encoder"):
        use_feature_cache(trainer, tmp_path)
    model.model.audio_tower.requires_grad_(False)
    with pytest.raises(FeatureCacheError, match="augmentation"):
        use_feature_cache(trainer, tmp_path, augmented=True)
    trainer.train_dataset = Dataset.from_list(sample_rows(2)).to_iterable_dataset()
    with pytest.raises(FeatureCacheError, match="stream"):
        use_feature_cache(trainer, tmp_path)
    assert not any(itertools.islice(tmp_path.rglob("*.safetensors"), 1))
