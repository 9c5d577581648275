"""The parts that hear: convolutions over levels, context, and training them without any text."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from training_helpers import sample_rows
from transformers import TrainingArguments

from mixing_buddy.collation import HearingCollator, SFTCollator, level_labels_db
from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig
from mixing_buddy.dataset_builder.building import build_dataset
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.modeling import MixingBuddyConfig, MixingBuddyForConditionalGeneration
from mixing_buddy.modeling.hearing_mixing_buddy import MixingBuddyLevelEncoder
from mixing_buddy.rendering import stem_powers
from mixing_buddy.songs import SAMPLE_RATE
from mixing_buddy.training.arguments import DataArguments, HearingArguments, ModelArguments
from mixing_buddy.training.flaw_head import (
    FLAW_CLASSES,
    FlawHead,
    flaw_labels,
    flaw_loss_function,
)
from mixing_buddy.training.hearing import build_trainer
from mixing_buddy.training.rows import config_shares, load_rows

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def tiny_dataset(song_root, tmp_path):
    """A folder of rows of two training songs, and the arguments that name it."""
    config = MixingBuddyDatasetConfig(
        sources=(str(song_root),), sampling="sample", samples_per_chunk=3
    )
    build_dataset(config, tmp_path / "dataset")
    return {"dataset": [str(tmp_path / "dataset")], "songs": [str(song_root)]}


def test_a_step_of_the_level_encoder_is_as_many_frames_as_its_strides_say():
    config = MixingBuddyConfig(
        num_level_bands=20, level_encoder_channels=[2, 3, 4], level_encoder_strides=[1, 2, 5]
    )
    encoder = MixingBuddyLevelEncoder(config)
    for num_frames in (1, 9, 10, 11, 124):
        states, maps = encoder(torch.randn(2, num_frames, 20))
        assert states.shape == (2, -(-num_frames // 10), config.level_encoder_size)
        assert maps.shape == (2, 3, -(-num_frames // 2), 5)


@pytest.fixture
def own_buddy(make_tiny_buddy):
    """A tiny model to change."""
    return make_tiny_buddy()


@pytest.fixture
def measured(own_buddy):
    """What its meter reads of clips: a function."""
    model, processor = own_buddy

    def measure(clips):
        with torch.no_grad():
            batch = processor.feature_extractor(clips, return_tensors="pt")
            return model.model.get_audio_features(**batch).stem_readings_db

    return measure


def noise(duration_s: float, gain_db: float = 0.0, seed: int = 0) -> np.ndarray:
    samples = np.random.default_rng(seed).standard_normal(round(duration_s * SAMPLE_RATE))
    return (samples * 10 ** (gain_db / 20)).astype(np.float32)


def test_all_of_the_power_falls_to_some_stem(own_buddy, measured):
    _, processor = own_buddy
    clip = noise(8.0)
    of_stems = 10 ** (measured(processor.feature_extractor.common_reference([clip])) / 10)
    # As if the whole clip were one stem.
    row = {"clips": [clip], "stem_powers": [stem_powers(np.stack([clip] * 4))]}
    whole = 10 ** (level_labels_db(processor, [row])[:, :, 0] / 10)
    # The slope of the highest of few bands takes a little less than there is.
    torch.testing.assert_close(of_stems.sum(-1)[1:-1], whole[1:-1], rtol=0.15, atol=0)


def test_a_stem_that_all_power_falls_to_is_read_as_the_level_head_is_taught(own_buddy, measured):
    model, processor = own_buddy
    masks = model.model.multi_modal_projector.meter.mask_proj
    with torch.no_grad():
        masks.weight.zero_()
        masks.bias.copy_(torch.tensor([0.0, 50.0, 0.0, 0.0]))
    # Quiet for so long that the gate matters.
    clip = np.concatenate([noise(4.0), noise(4.0, gain_db=-25.0, seed=1)])
    stems = np.zeros((4, clip.size), np.float32)
    stems[1] = clip
    row = {"clips": [clip], "stem_powers": [stem_powers(stems)]}
    labels_db = level_labels_db(processor, [row])
    reading_db = measured(processor.feature_extractor.common_reference([clip]))
    # Not at the ends, nor where a window hears the loud half beside the quiet one.
    tokens = [1, 2, 3, 6, 7, 8]
    torch.testing.assert_close(reading_db[tokens], labels_db[tokens], rtol=0, atol=0.6)
    # Without the gate the whole clip would be 3 dB below its loud half.
    assert abs(reading_db[0, 1, 1] - reading_db[2, 0, 1]) < 0.5


def test_the_reading_is_where_the_level_head_begins(own_buddy, measured):
    model, processor = own_buddy
    clips = [noise(2.0), noise(3.0, gain_db=-6.0)]
    with torch.no_grad():
        model.model.level_head.weight.zero_()
        model.model.level_head.bias.zero_()
        batch = processor.feature_extractor(clips, return_tensors="pt")
        heard_db = model(**batch).stem_levels_db
    torch.testing.assert_close(heard_db, measured(clips))
    assert heard_db.shape == (sum(processor.num_audio_tokens(c.size) for c in clips), 2, 4)


def test_a_clip_is_heard_alike_alone_and_beside_a_longer_one(tiny_buddy):
    model, processor = tiny_buddy
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal(round(s * 24_000)).astype(np.float32) for s in (3.1, 1.3, 2.0)]
    extract = processor.feature_extractor

    def levels_db(of_clips):
        with torch.no_grad():
            return model(**extract(of_clips, return_tensors="pt")).stem_levels_db

    together = levels_db(clips)
    alone = torch.cat([levels_db([clip]) for clip in clips])
    assert together.shape == (sum(processor.num_audio_tokens(c.size) for c in clips), 2, 4)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_context_carries_what_comes_later_to_what_came_before(tiny_buddy):
    model, processor = tiny_buddy
    rng = np.random.default_rng(0)
    clip = rng.standard_normal(72_000).astype(np.float32)
    other = clip.copy()
    other[60_000:] *= 3.0
    values = [
        processor.feature_extractor([each], return_tensors="pt")["input_features"]
        for each in (clip, other)
    ]
    states = torch.zeros(1, 3, values[0].shape[1], model.config.audio_config.hidden_size)
    with torch.no_grad():
        first = [
            model.model.get_audio_features(
                input_features=features, encoder_states=states
            ).pooler_output[0]
            for features in values
        ]
    assert not torch.allclose(*first)


def test_without_text_the_same_levels_are_heard_and_the_language_model_is_not_run(tiny_buddy):
    model, processor = tiny_buddy
    rows = sample_rows(3)
    heard, spoken = HearingCollator(processor)(rows), SFTCollator(processor)(rows)
    torch.testing.assert_close(heard["stem_levels_labels_db"], spoken["stem_levels_labels_db"])
    with torch.no_grad():
        with_text = model(**spoken)
        language_model = model.model.language_model
        handle = language_model.register_forward_hook(lambda *_: pytest.fail("it was run"))
        without = model(**heard)
        handle.remove()
    torch.testing.assert_close(without.stem_levels_db, with_text.stem_levels_db)
    torch.testing.assert_close(without.loss, with_text.level_loss)
    assert without.logits is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"level_encoder_channels": [4], "level_encoder_strides": []}, "one stride for each"),
        ({"level_encoder_channels": [4], "level_encoder_strides": [3]}, "does not divide"),
        (
            {"level_encoder_channels": [4], "level_encoder_strides": [5], "num_level_bands": 0},
            "nothing to encode",
        ),
        ({"meter_channels": 4}, "level_encoder_channels is empty"),
        ({"num_context_layers": 1, "num_context_heads": 7}, "num_context_heads"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused_by_name(fields, message):
    with pytest.raises(Exception, match=message):
        MixingBuddyConfig(**fields)


def test_what_was_saved_hears_the_same(tiny_buddy, tmp_path):
    model, processor = tiny_buddy
    model.save_pretrained(tmp_path)
    loaded = MixingBuddyForConditionalGeneration.from_pretrained(tmp_path)
    batch = HearingCollator(processor)(sample_rows(2))
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(**batch).stem_levels_db, model(**batch).stem_levels_db, atol=1e-5, rtol=1e-5
        )


def test_the_script_teaches_hearing_and_sft_goes_on_from_there(tiny_dataset, tmp_path):
    def run(script, *flags):
        return subprocess.run(
            [sys.executable, str(REPOSITORY / script), *flags],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    common = {
        **tiny_dataset,
        "freeze_audio_tower": False,
        "per_device_train_batch_size": 2,
        "use_cpu": True,
        "report_to": "none",
        "eval_strategy": "no",
        "save_strategy": "no",
    }
    hearing = {**common, "model_name_or_path": "nano", "max_steps": 3, "logging_steps": 1}
    (tmp_path / "hearing.yaml").write_text(yaml.safe_dump({**hearing, "output_dir": "hearing"}))
    done = run("train_hearing.py", "--config", "hearing.yaml")
    assert done.returncode == 0, done.stderr
    logged = set(done.stdout.replace("'", " ").split())
    assert {"level_rmse_db", "loudness_rmse_db"} <= logged
    assert "flaw_joint" not in logged
    refused = run("train_hearing.py", "--config", "hearing.yaml", "--use_peft")
    assert refused.returncode == 1
    assert "use_peft" in refused.stderr.splitlines()[-1]
    sft = {**common, "model_name_or_path": "hearing", "max_steps": 1, "output_dir": "spoken"}
    (tmp_path / "sft.yaml").write_text(yaml.safe_dump(sft))
    done = run("train_sft.py", "--config", "sft.yaml")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "spoken" / "config.json").read_text())["num_context_layers"] == 2


def flaw(category, target, anchor, mode="single_mix", num_clips=1):
    return {
        "mode": mode,
        "category": category,
        "target": target,
        "anchor": anchor,
        "clips": [None] * num_clips,
    }


def test_each_single_mix_has_its_flaw_as_label_and_never_the_anchor_s():
    rows = [
        flaw("very_loud", "bass", "drums"),
        flaw("quiet", "vocals", "drums", mode="stems", num_clips=3),
        flaw("no_error", "vocals", "bass"),
        flaw("quiet", "vocals", None),
    ]
    labels = flaw_labels(rows, [25] * 6)
    names = [None if i == -100 else FLAW_CLASSES[i] for i in labels["flaw_labels"].tolist()]
    stems = [None] * 3
    assert names == [("very_loud", "bass"), *stems, ("no_error", None), ("quiet", "vocals")]
    ruled_out = [
        {stem for (_, stem), out in zip(FLAW_CLASSES, outs, strict=True) if out}
        for outs in labels["flaws_ruled_out"].tolist()
    ]
    assert ruled_out == [{"drums"}, set(), set(), set(), {"bass"}, set()]


def test_the_flaw_head_reads_the_mean_of_each_clip_s_embeddings():
    head = FlawHead(8)
    clips = [torch.randn(count, 8) for count in (3, 1, 5)]
    scores = head(torch.cat(clips), torch.tensor([3, 1, 5]))
    alone = torch.cat([head(clip.mean(0, keepdim=True), torch.tensor([1])) for clip in clips])
    torch.testing.assert_close(scores, alone)


def test_stem_and_direction_make_a_flaw_right_and_clips_without_a_label_count_for_nothing():
    index = {each: place for place, each in enumerate(FLAW_CLASSES)}
    said = [("quiet", "bass"), ("loud", "bass"), ("no_error", None), ("loud", "drums")]
    true = [("very_quiet", "bass"), ("quiet", "bass"), ("no_error", None)]
    logits = torch.zeros(4, len(FLAW_CLASSES), requires_grad=True)
    logits = logits + 9.0 * torch.nn.functional.one_hot(
        torch.tensor([index[each] for each in said]), len(FLAW_CLASSES)
    )
    labels = torch.tensor([*(index[each] for each in true), -100])
    ruled_out = torch.zeros_like(logits, dtype=torch.bool)
    loss, right = flaw_loss_function(logits, labels, ruled_out)
    assert right.tolist() == [True, False, True]
    assert loss > 1.0
    # What can't be is not said, however much speaks for it.
    ruled_out[1, index["loud", "bass"]] = True
    assert flaw_loss_function(logits, labels, ruled_out)[0] < loss
    loss, right = flaw_loss_function(logits[3:], labels[3:], ruled_out[3:])
    assert loss == 0.0 and loss.requires_grad and not len(right)


def test_the_flaw_head_is_resumed_and_no_part_of_the_model_in_the_end(tiny_dataset, tmp_path):
    def train(output_dir, max_steps, resume=None, **flags):
        trainer = build_trainer(
            DataArguments(**tiny_dataset),
            TrainingArguments(
                output_dir=str(tmp_path / output_dir),
                max_steps=max_steps,
                per_device_train_batch_size=2,
                use_cpu=True,
                report_to="none",
                save_steps=2,
                logging_steps=1,
                lr_scheduler_type="constant",
            ),
            ModelArguments(model_name_or_path="nano"),
            hearing=HearingArguments(**flags),
        )
        trainer.train(resume_from_checkpoint=resume)
        trainer.save_model()
        return trainer

    whole = train("whole", 4, flaw_loss_weight=0.3)
    assert all(0.0 <= log["flaw_joint"] <= 1.0 for log in whole.state.log_history if "loss" in log)
    weights = {
        folder: load_file(tmp_path / "whole" / folder / "model.safetensors")
        for folder in ("checkpoint-4", ".")
    }
    extra = set(weights["checkpoint-4"]) - set(weights["."])
    assert extra == {"flaw_head.weight", "flaw_head.bias"}
    train("resumed", 2, flaw_loss_weight=0.3)
    train("resumed", 4, resume=str(tmp_path / "resumed" / "checkpoint-2"), flaw_loss_weight=0.3)
    resumed = load_file(tmp_path / "resumed" / "checkpoint-4" / "model.safetensors")
    torch.testing.assert_close(resumed, weights["checkpoint-4"])
    with pytest.raises(MixingBuddyError, match="flaw_loss_weight is -1"):
        train("refused", 1, flaw_loss_weight=-1.0)


def test_only_a_share_of_a_configs_rows_is_used(tiny_dataset):
    def args(*shares, **options):
        return DataArguments(**tiny_dataset, dataset_config_share=list(shares), **options)

    everything = load_rows(args(), "train")
    half = load_rows(args(0.5), "train")
    assert len(half) == round(len(everything) / 2)
    for bad, message in (((0.5, 0.5), "one for each"), ((0.0,), "above 0")):
        with pytest.raises(MixingBuddyError, match=message):
            load_rows(args(*bad), "train")
    with pytest.raises(MixingBuddyError, match="stream"):
        config_shares(args(0.5, streaming=True))
