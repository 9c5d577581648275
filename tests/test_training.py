"""Training: what is learnt, what is left alone, and that it goes on where it stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from training_helpers import sample_rows

from mixing_buddy.collation import LEVEL_FLOOR_DB, SFTCollator
from mixing_buddy.loudness import k_weighted
from mixing_buddy.rendering import powers_in_clip, render, stem_powers
from mixing_buddy.songs import SAMPLE_RATE

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


@pytest.mark.parametrize("hearing_learning_rate", [0.0, 1e-4, None])
def test_what_hears_has_a_learning_rate_of_its_own(
    make_tiny_buddy, trainer_for, hearing_learning_rate
):
    model, processor = make_tiny_buddy()
    trainer = trainer_for(
        model,
        processor,
        sample_rows(4),
        max_steps=3,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
    )
    trainer.hearing_learning_rate = hearing_learning_rate
    before = {name: value.clone() for name, value in model.named_parameters()}
    trainer.train()
    moved = {name: (value - before[name]).abs().max() for name, value in model.named_parameters()}
    hearing = ("model.layer_mix.", "model.multi_modal_projector.", "model.level_head.")
    heard = {name: distance for name, distance in moved.items() if name.startswith(hearing)}
    others = {name: distance for name, distance in moved.items() if name not in heard}
    assert all(others.values())
    # Adam's steps are about as long as the learning rate, and there were three.
    rate = 1e-3 if hearing_learning_rate is None else hearing_learning_rate
    assert all(rate / 10 <= distance <= 4 * rate for distance in heard.values())
    assert len(trainer.optimizer.param_groups) == (2 if hearing_learning_rate is None else 4)
    assert sum(len(group["params"]) for group in trainer.optimizer.param_groups) == len(moved)


def test_a_negative_learning_rate_of_what_hears_is_refused():
    from mixing_buddy.errors import MixingBuddyError
    from mixing_buddy.training.arguments import LearningArguments

    with pytest.raises(MixingBuddyError, match="hearing_learning_rate is -1"):
        LearningArguments(hearing_learning_rate=-1.0).check()


def test_level_labels_are_the_stems_levels_in_the_mix(tiny_buddy):
    _, processor = tiny_buddy
    rng = np.random.default_rng(0)
    gains_db = {"bass": -6.0, "drums": 0.0, "other": -12.0, "vocals": -90.0}
    stems = rng.standard_normal((4, 48_000)).astype(np.float32)
    row = {
        "clips": [render(stems, gains_db)],
        "stem_powers": [powers_in_clip(stem_powers(stems), gains_db)],
        "instruction": "?",
        "response": "!",
    }
    labels_db = SFTCollator(processor)([row])["stem_levels_labels_db"]
    assert labels_db.shape == (processor.num_audio_tokens(48_000), 2, 4)
    gains = np.array([10 ** (gain_db / 20) for gain_db in gains_db.values()])
    power = np.square(k_weighted(stems * gains[:, None], SAMPLE_RATE)).mean(1)
    mix_power = np.square(row["clips"][0]).mean()
    expected_db = np.maximum(10 * np.log10(power / mix_power), LEVEL_FLOOR_DB)
    # Noise is as loud in each stretch as in the whole.
    np.testing.assert_allclose(labels_db[:, 0].mean(0), expected_db, atol=0.1)
    np.testing.assert_allclose(labels_db[0, 1], expected_db, atol=0.1)
    assert (labels_db[:, 1] == labels_db[0, 1]).all()
    # The same levels, whatever the level of the whole sample.
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


def test_norm_matching_pulls_the_audios_norm_to_the_texts_and_moves_no_text(
    make_tiny_buddy, trainer_for
):
    from mixing_buddy.training.auxiliary import auxiliary_losses

    model, processor = make_tiny_buddy()
    rows = sample_rows(4)
    with torch.no_grad():  # far from the text's norm
        model.model.multi_modal_projector.layers[-1].weight.mul_(30.0)
    trainer = trainer_for(model, processor, rows, max_steps=20)
    trainer.auxiliary_losses = auxiliary_losses(level_loss_weight=0.0, norm_matching_weight=1.0)
    batch = SFTCollator(processor)(rows)

    # By hand: the answer's loss, and the squared logarithm of the ratio of norms.
    with torch.no_grad():
        model.config.level_loss_weight = 0.0
        answer_loss = model(**batch).loss
        audio = model(**batch).audio_embeds.norm(dim=-1).mean()
        is_text = batch["attention_mask"].bool() & (
            batch["input_ids"] != model.config.audio_token_id
        )
        text = model.get_input_embeddings()(batch["input_ids"])[is_text].norm(dim=-1).mean()
    expected = answer_loss + (audio / text).log().square()
    loss = trainer.compute_loss(model, dict(batch))
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-4)

    trainer.listener.collect(None, None)
    model(**batch, use_cache=False)
    (norm_matching,) = trainer.auxiliary_losses
    caught = trainer.listener.collect(batch["attention_mask"], None)
    norm_matching.function(caught)[0].backward()
    assert model.get_input_embeddings().weight.grad is None
    assert model.model.multi_modal_projector.layers[-1].weight.grad.abs().max() > 0
    model.zero_grad()

    trainer.train()
    log = [entry for entry in trainer.state.log_history if "norm_matching_loss" in entry]
    assert log[-1]["norm_matching_loss"] < 0.8 * log[0]["norm_matching_loss"]
    assert "level_loss" not in log[0]


def test_without_the_level_loss_its_head_is_left_as_it_is(make_tiny_buddy, trainer_for):
    model, processor = make_tiny_buddy()
    model.config.level_loss_weight = 0.0
    before = model.model.level_head.weight.clone()
    trainer = trainer_for(model, processor, sample_rows(2), max_steps=2, weight_decay=0.5)
    trainer.train()
    assert torch.equal(model.model.level_head.weight, before)


def test_accumulated_batches_have_the_loss_and_gradient_of_one(make_tiny_buddy, trainer_for):
    states = []
    for fields in (
        {"per_device_train_batch_size": 4},
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4},
    ):
        model, processor = make_tiny_buddy()
        rows = sample_rows(4)
        rows[2]["clips"] = [rows[2]["clips"][0][:24_000]]  # as many levels less
        rows[2]["stem_powers"] = [rows[2]["stem_powers"][0][:75]]
        trainer = trainer_for(
            model, processor, rows, max_steps=1, optim="sgd", learning_rate=1.0, **fields
        )
        trainer.train()
        states.append((trainer.state.log_history[0]["loss"], model.state_dict()))
    assert states[0][0] == pytest.approx(states[1][0], rel=1e-4)
    for name, value in states[0][1].items():
        torch.testing.assert_close(value, states[1][1][name], atol=1e-4, rtol=1e-3)


def test_rows_of_several_modes_make_one_batch_with_only_answers_to_learn(tiny_buddy):
    """One to four clips, and a row that asks nothing, together as each alone."""
    _, processor = tiny_buddy
    rows = sample_rows(4)
    for number, row in enumerate(rows, start=1):
        row["clips"] = row["clips"] * number
        row["stem_powers"] = row["stem_powers"] * number
    rows[0]["instruction"] = ""
    collator = SFTCollator(processor)
    batch = collator(rows)
    assert len(batch["stem_levels_labels_db"]) == processor.num_audio_tokens(48_000) * 10
    audio_token = processor.audio_token_id
    for row, ids, labels in zip(rows, batch["input_ids"], batch["labels"], strict=True):
        assert processor.tokenizer.decode(labels[labels != -100]) == row["response"] + "<|im_end|>"
        expected = len(row["clips"]) * processor.num_audio_tokens(48_000)
        assert int((ids == audio_token).sum()) == expected
        alone = collator([row])
        width = alone["input_ids"].shape[1]
        assert torch.equal(ids[:width], alone["input_ids"][0])
        assert torch.equal(labels[:width], alone["labels"][0])


@pytest.fixture
def tiny_run(song_root, tmp_path, write_song):
    """A built dataset of all modes, and a YAML file for a run of twelve steps on it."""
    from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig
    from mixing_buddy.dataset_builder.building import BuildSettings, build_dataset

    write_song(song_root / "validation" / "Dolomite", seed=7)
    for song in ("Amber", "Basalt"):
        facts = {"balance": {"offset_lufs": -20.0}}
        (song_root / "train" / song / "song.json").write_text(json.dumps(facts))
    modes = ["single_mix", "stems", "differential"]
    config = MixingBuddyDatasetConfig(
        sources=(str(song_root),), sampling="sample", samples_per_chunk=1
    )
    build_dataset(config, tmp_path / "dataset", BuildSettings(modes=tuple(modes)))
    settings = yaml.safe_load((REPOSITORY / "configs" / "nano.yaml").read_text())
    settings |= {
        "model_name_or_path": "nano",
        "dataset": [str(tmp_path / "dataset")],
        "dataset_config": modes,
        "dataset_config_share": [],
        "songs": [str(song_root)],
        "output_dir": str(tmp_path / "run"),
        "per_device_train_batch_size": 2,
        "max_steps": 10,
        "warmup_steps": 0,
        "save_steps": 4,
        "eval_steps": 4,
        "max_eval_rows": 2,
        "validate_answers_rows": 3,
        "validate_answers_steps": 4,
        "logging_steps": 1,
        "disable_tqdm": True,
        "dataloader_num_workers": 1,
        "augment_gain_db": 3.0,
        "augment_dc_offset": 0.005,
        "augment_noise_snr_db": [30.0, 60.0],
        "augment_tilt_db": 1.0,
        "swap_stems_probability": 0.5,
        "projector_dropouts": [0.3],
        "final_projector_dropouts": [0.0],
        "norm_matching_weight": 0.05,
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def command(config: Path, *flags: str) -> list[str]:
    return [sys.executable, str(REPOSITORY / "train_sft.py"), "--config", str(config), *flags]


def train(config: Path, *flags: str, **environ: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(config, *flags),
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environ},
    )


def history_of(run: Path) -> list[dict]:
    newest = max(run.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    return json.loads((newest / "trainer_state.json").read_text())["log_history"]


def losses_of(run: Path) -> list[float]:
    return [entry["loss"] for entry in history_of(run) if "loss" in entry]


def kill_after_first_checkpoint(config: Path, *flags: str, run: Path) -> None:
    """Start a run and end it by SIGKILL, workers too, as soon as it has saved once."""
    process = subprocess.Popen(
        command(config, *flags),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    while process.poll() is None and not list(run.glob("checkpoint-*/trainer_state.json")):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_the_script_trains_validates_and_resumes_after_sigkill_with_the_same_losses(
    tiny_run, tmp_path
):
    done = train(tiny_run)
    assert done.returncode == 0, done.stderr
    assert "Training rows:   12 (differential 4, single_mix 4, stems 4)" in done.stdout
    assert "3 by their answers" in done.stdout
    run = tmp_path / "run"
    assert (run / "model.safetensors").is_file()
    assert (run / "modeling_mixing_buddy.py").is_file()
    modes = json.loads((run / "config.json").read_text())["trained_modes"]
    assert sorted(modes) == ["differential", "single_mix", "stems"]
    straight = losses_of(run)
    assert len(straight) == 10
    scored = [entry for entry in history_of(run) if "eval_joint" in entry]
    assert [entry["step"] for entry in scored] == [4, 8]
    assert {"eval_no_error_recall", "eval_joint_stems", "eval_answers_seconds"} & set(scored[0])
    assert list((run / "runs").rglob("events.out.tfevents*"))

    again = train(tiny_run)
    assert again.returncode == 1
    assert "--resume_from_checkpoint latest" in again.stderr

    other = tmp_path / "killed"
    flags = ("--output_dir", str(other))
    kill_after_first_checkpoint(tiny_run, *flags, run=other)
    assert not (other / "model.safetensors").exists()
    # What a kill while saving leaves behind.
    (other / "checkpoint-9").mkdir()
    (other / "checkpoint-9" / "trainer_state.json").write_text('{"epoch": 1')
    resumed = train(tiny_run, *flags, "--resume_from_checkpoint", "latest")
    assert resumed.returncode == 0, resumed.stderr
    assert losses_of(other) == straight


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (("--eval_split", "test"), "eval_split is test"),
        (("--songs", "elsewhere=."), "No folder given for the songs of source 'tiny'"),
        (("--dataset", "nowhere"), "nowhere"),
        (("--eval_split", "holdout"), "No split 'holdout'"),
        (("--report_to", "wandb"), r"mixing-buddy\[trackers\]"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tiny_run, capsys, monkeypatch, flags, match):
    import importlib.util

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "mixing_buddy.training.checks.find_spec",
        lambda name: None if name == "wandb" else find_spec(name),
    )
    monkeypatch.setattr(sys, "argv", command(tiny_run, *flags)[1:])
    monkeypatch.syspath_prepend(str(REPOSITORY))
    import train_sft

    with pytest.raises(SystemExit, match=match) as stopped:
        train_sft.main()
    assert "\n" not in str(stopped.value)


def test_curves_go_to_trackio_on_this_machine(make_tiny_buddy, trainer_for, tmp_path, monkeypatch):
    pytest.importorskip("trackio", reason="trackio is not installed")
    from trackio.sqlite_storage import SQLiteStorage

    from mixing_buddy.training.checks import check_trackers

    monkeypatch.setattr("trackio.utils.TRACKIO_DIR", tmp_path / "trackio")
    monkeypatch.setattr("trackio.sqlite_storage.TRACKIO_DIR", tmp_path / "trackio")
    model, processor = make_tiny_buddy()
    trainer = trainer_for(
        model, processor, sample_rows(2), max_steps=2, report_to="trackio", run_name="first"
    )
    check_trackers(trainer.args)
    assert trainer.args.trackio_static_space_id is False  # nothing is sent anywhere
    trainer.train()
    logged = SQLiteStorage.get_logs(trainer.args.project, "first")
    assert {"train/loss", "train/level_mae_db"} <= {name for entry in logged for name in entry}


def test_accelerate_that_started_fewer_processes_than_asked_for_is_reported(monkeypatch):
    from types import SimpleNamespace

    from mixing_buddy.training.checks import check_launch

    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert check_launch(SimpleNamespace(world_size=1)) is None
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert "torchrun --nproc_per_node" in check_launch(SimpleNamespace(world_size=1))
    assert check_launch(SimpleNamespace(world_size=2)) is None


def test_the_tokens_that_decide_are_those_in_which_answers_differ(tiny_buddy, song_root, tmp_path):
    from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig
    from mixing_buddy.dataset_builder.building import BuildSettings, build_dataset
    from mixing_buddy.labels import decode_labels
    from mixing_buddy.rows import open_rows
    from mixing_buddy.training.decisions import DecisionMarker, alternatives

    _, processor = tiny_buddy
    tokenizer = processor.tokenizer
    config = MixingBuddyDatasetConfig(
        sources=(str(song_root),), sampling="sample", samples_per_chunk=20
    )
    modes = ("single_mix", "stems", "differential")
    build_dataset(config, tmp_path / "dataset", BuildSettings(modes=modes))
    marker = DecisionMarker(tokenizer)
    for mode in modes:
        columns = decode_labels(open_rows(tmp_path / "dataset", mode, "train")[:])
        rows = [
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        ]
        marked = 0
        for row in rows:
            tokens = tokenizer.encode(row["response"])
            marks = marker(row)
            assert len(marks) == len(tokens)
            marked += any(marks)
            # Up to the first token that decides, every other answer is the same.
            opening = tokenizer.decode(tokens[: marks.index(True)] if any(marks) else [])
            assert all(other.startswith(opening) for other in alternatives(row))
        assert marked == len(rows)
        if mode == "single_mix":
            assert not any(marker({**rows[0], "anchor": None}))


def test_decisions_are_learnt_from_their_own_tokens_alone(make_tiny_buddy, trainer_for):
    from mixing_buddy.training.auxiliary import auxiliary_losses

    model, processor = make_tiny_buddy()
    rows = sample_rows(4)
    marks = [
        [place == 3 for place in range(len(processor.tokenizer.encode(row["response"])))]
        for row in rows
    ]
    by_response = {row["response"]: each for row, each in zip(rows, marks, strict=True)}
    collator = SFTCollator(processor, lambda row: by_response[row["response"]])
    batch = collator(rows)
    for row, mask, ids in zip(rows, batch["decision_mask"], batch["input_ids"], strict=True):
        assert ids[mask].tolist() == [processor.tokenizer.encode(row["response"])[3]]
    trainer = trainer_for(model, processor, rows)
    losses = []
    for weight in (0.0, 2.0):
        trainer.auxiliary_losses = auxiliary_losses(
            level_loss_weight=0.0, decision_loss_weight=weight
        )
        with torch.no_grad():
            losses.append(trainer.compute_loss(model, dict(batch)))
    with torch.no_grad():
        inputs = {name: each for name, each in batch.items() if name != "decision_mask"}
        logits = model(**inputs).logits[:, :-1][batch["decision_mask"][:, 1:]]
    wanted = batch["input_ids"][batch["decision_mask"]]
    expected = torch.nn.functional.cross_entropy(logits, wanted)
    torch.testing.assert_close(losses[1] - losses[0], 2 * expected, atol=1e-4, rtol=1e-4)
