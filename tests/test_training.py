"""Training: what is learnt, what is left alone, and that it goes on where it stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from training_helpers import sample_rows

from mixing_buddy.collation import LEVEL_FLOOR_DB, SFTCollator
from mixing_buddy.rendering import render, stem_powers

REPOSITORY = Path(__file__).resolve().parents[1]


def test_labels_cover_the_answer_and_its_end_and_nothing_else(tiny_buddy):
    _, processor = tiny_buddy
    rows = sample_rows(3)
    batch = SFTCollator(processor)(rows)
    for row, labels in zip(rows, batch["labels"], strict=True):
        assert processor.tokenizer.decode(labels[labels != -100]) == row["response"] + "<|im_end|>"


def test_padding_changes_no_labels(tiny_buddy):
    _, processor = tiny_buddy
    rows = sample_rows(2)
    rows[1]["response"] *= 3
    together = SFTCollator(processor)(rows)
    alone = SFTCollator(processor)(rows[:1])
    width = alone["labels"].shape[1]
    assert torch.equal(together["labels"][0, :width], alone["labels"][0])
    assert (together["labels"][0, width:] == -100).all()


def test_a_tiny_random_model_learns_eight_samples_by_heart(make_tiny_buddy, trainer_for):
    model, processor = make_tiny_buddy()
    rows = sample_rows(8)
    before = {name: value.clone() for name, value in model.named_parameters()}
    trainer = trainer_for(model, processor, rows, max_steps=200)
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "mean_token_accuracy" in entry]
    assert log[0]["mean_token_accuracy"] < 0.1
    assert log[-1]["mean_token_accuracy"] > 0.99
    assert {"loss", "level_mae_db"} <= set(log[-1])
    unchanged = [
        name for name, value in model.named_parameters() if torch.equal(value, before[name])
    ]
    assert unchanged == []

    from mixing_buddy.advising.inference import MixingBuddy

    buddy = MixingBuddy(model.eval(), processor)
    answers = buddy.answer([row["clips"] for row in rows], [row["instruction"] for row in rows])
    assert answers == [row["response"] for row in rows]


def test_lora_trains_the_language_models_adapter_and_the_new_parts_only(
    make_tiny_buddy, trainer_for
):
    from trl import ModelConfig

    from mixing_buddy.training.models import lora_config

    model, processor = make_tiny_buddy()
    trainer = trainer_for(
        model, processor, sample_rows(4), lora_config(ModelConfig(use_peft=True)), max_steps=3
    )
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    changed = {
        name for name, value in trainer.model.named_parameters() if not value.equal(before[name])
    }
    parts = ("lora_", "modules_to_save")
    assert changed and all(any(part in name for part in parts) for name in changed)
    assert not any("audio_tower" in name for name in changed)
    assert any("multi_modal_projector" in name for name in changed)
    assert any("layer_mix" in name for name in changed)
    linear = {name.split(".lora_")[0].rsplit(".", 1)[1] for name in changed if "lora_" in name}
    assert linear == {
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    }


def test_level_labels_are_the_stems_levels_in_the_mix(tiny_buddy):
    _, processor = tiny_buddy
    rng = np.random.default_rng(0)
    gains_db = {"bass": -6.0, "drums": 0.0, "other": -12.0, "vocals": -90.0}
    stems = rng.standard_normal((4, 48_000)).astype(np.float32)
    row = {
        "clips": [render(stems, gains_db)],
        "stem_powers": [stem_powers(stems, gains_db)],
        "instruction": "?",
        "response": "!",
    }
    labels_db = SFTCollator(processor)([row])["stem_levels_labels_db"]
    assert labels_db.shape == (processor.num_audio_tokens(48_000), 4)
    power = np.array([10 ** (gain / 10) for gain in gains_db.values()])
    expected_db = np.maximum(10 * np.log10(power / power.sum()), LEVEL_FLOOR_DB)
    np.testing.assert_allclose(labels_db.mean(0), expected_db, atol=0.1)
    # The same levels at every token, whatever the level of the whole sample.
    louder = {**row, "clips": [row["clips"][0] * 2], "stem_powers": [row["stem_powers"][0] * 4]}
    torch.testing.assert_close(SFTCollator(processor)([louder])["stem_levels_labels_db"], labels_db)


def test_level_loss_is_added_with_its_weight(make_tiny_buddy, trainer_for):
    losses = {}
    for weight in (0.0, 1.0):
        model, processor = make_tiny_buddy()
        model.config.level_loss_weight = weight
        rows = sample_rows(4)
        trainer = trainer_for(model, processor, rows)
        batch = SFTCollator(processor)(rows)
        with torch.no_grad():
            own = model(**batch)
            losses[weight] = trainer.compute_loss(model, dict(batch))
        torch.testing.assert_close(losses[weight], own.loss, atol=1e-4, rtol=1e-4)
    assert own.level_loss > 0.01
    torch.testing.assert_close(losses[1.0] - losses[0.0], own.level_loss, atol=1e-4, rtol=1e-3)


@pytest.fixture
def tiny_run(song_root, tmp_path):
    """A built data set and a YAML file for a run of four steps on it."""
    from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig
    from mixing_buddy.dataset_builder.building import build_dataset

    config = MixingBuddyDatasetConfig(
        sources=(str(song_root),), sampling="sample", samples_per_chunk=4
    )
    build_dataset(config, tmp_path / "dataset")
    settings = yaml.safe_load((REPOSITORY / "configs" / "nano.yaml").read_text())
    settings |= {
        "dataset": [str(tmp_path / "dataset")],
        "songs": [str(song_root)],
        "output_dir": str(tmp_path / "run"),
        "eval_split": "test",
        "per_device_train_batch_size": 2,
        "max_steps": 4,
        "warmup_steps": 0,
        "save_steps": 2,
        "eval_steps": 2,
        "max_eval_rows": 2,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def train(config: Path, *flags: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "train_sft.py"), "--config", str(config), *flags],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def losses_of(run: Path) -> list[float]:
    newest = sorted(run.glob("checkpoint-*"))[-1]
    history = json.loads((newest / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def test_the_script_trains_saves_and_resumes_with_the_same_losses(tiny_run, tmp_path):
    done = train(tiny_run)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    assert (run / "model.safetensors").is_file()
    assert (run / "modeling_mixing_buddy.py").is_file()
    straight = losses_of(run)
    assert len(straight) == 4

    again = train(tiny_run)
    assert again.returncode == 1
    assert "--resume_from_checkpoint latest" in again.stderr

    for file in (run / "checkpoint-4").iterdir():
        file.unlink()
    (run / "checkpoint-4").rmdir()
    resumed = train(tiny_run, "--resume_from_checkpoint", "latest")
    assert resumed.returncode == 0, resumed.stderr
    assert losses_of(run) == straight
