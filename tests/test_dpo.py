"""DPO: what is compared, with which reference, what is learnt, and that it can be resumed."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from datasets import Dataset
from peft import get_peft_model
from training_helpers import as_rendered, sample_rows
from trl import DPOConfig, TrlParser

from mixing_buddy.conversations import to_messages
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.preferences import RejectedKind
from mixing_buddy.training.arguments import ModelArguments
from mixing_buddy.training.checkpoints import load_adapter, name_base
from mixing_buddy.training.dpo import MixingBuddyDPOTrainer, PreferenceArguments, build_trainer
from mixing_buddy.training.dpo import load_start as load_dpo_start
from mixing_buddy.training.models import lora_config
from mixing_buddy.training.preference_collation import KINDS, PreferenceCollator

REPOSITORY = Path(__file__).resolve().parents[1]


def pairs(count: int = 5) -> list[dict]:
    """Rows of mixed kinds and unequal length, each with the next row's answer as the wrong one."""
    rows = sample_rows(count)
    for index, row in enumerate(rows):
        row["chosen"] = row["response"]
        row["rejected"] = rows[(index + 1) % count]["response"]
        row["rejected_kind"] = KINDS[index % len(KINDS)]
    rows[1]["clips"] = [rows[1]["clips"][0][:30_000]]
    return rows


@pytest.fixture
def dpo_trainer(tmp_path):
    """Function that builds a trainer on pairs from what `load_dpo_start` returned."""

    def build(start, rows, frozen=(), **arguments):
        model, processor, reference, adapter = start
        defaults = {
            "output_dir": str(tmp_path / "run"),
            "remove_unused_columns": False,
            "max_length": None,
            "bf16": False,
            "use_cpu": True,
            "activation_checkpointing": False,
            "per_device_train_batch_size": len(rows),
            "learning_rate": 1e-3,
            "lr_scheduler_type": "constant",
            "logging_steps": 1,
            "report_to": "none",
            "disable_tqdm": True,
            "save_strategy": "no",
        }
        return MixingBuddyDPOTrainer(
            model=model,
            ref_model=reference,
            args=DPOConfig(**{**defaults, **arguments}),
            train_dataset=Dataset.from_list(rows).with_transform(as_rendered),
            data_collator=PreferenceCollator(processor),
            processing_class=processor,
            peft_config=adapter,
            frozen=frozen,
        )

    return build


@pytest.fixture
def full_model(make_tiny_buddy, tmp_path) -> Path:
    """Folder of a tiny model with dropout wherever a model of ours may have it."""
    model, processor = make_tiny_buddy()
    model.config.projector_dropouts = [0.3]
    model.config.audio_config.attention_dropout = 0.3
    model.config.audio_config.hidden_dropout = 0.3
    model.config.text_config.attention_dropout = 0.3
    model.save_pretrained(tmp_path / "full")
    processor.save_pretrained(tmp_path / "full")
    return tmp_path / "full"


@pytest.fixture
def sft_adapter(full_model, tmp_path) -> Path:
    """Folder of an adapter on it whose every part differs from the base's."""
    model, processor, _, _ = load_dpo_start(arguments_for(full_model), True)
    peft_model = get_peft_model(model, lora_config(ModelArguments(use_peft=True)))
    generator = torch.Generator().manual_seed(0)
    for parameter in peft_model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    name_base(peft_model, tmp_path / "adapter")
    peft_model.save_pretrained(tmp_path / "adapter")
    processor.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def arguments_for(folder: Path, **arguments) -> ModelArguments:
    return ModelArguments(model_name_or_path=str(folder), **arguments)


def log_of(trainer) -> list[dict]:
    return [entry for entry in trainer.state.log_history if "rewards/margins" in entry]


def test_a_batch_holds_both_answers_as_the_processor_writes_them_and_each_clip_once(tiny_buddy):
    _, processor = tiny_buddy
    rows = pairs()
    batch = PreferenceCollator(processor)(rows)
    assert len(batch["input_values"]) == len(rows)
    assert batch["clip_index"].tolist() == [*range(len(rows))] * 2
    assert [KINDS[kind] for kind in batch["rejected_kind"]] == list(RejectedKind)
    answers = [row["chosen"] for row in rows] + [row["rejected"] for row in rows]
    for row, answer, ids, attended, completion in zip(
        rows * 2,
        answers,
        batch["input_ids"],
        batch["attention_mask"].bool(),
        batch["completion_mask"].bool(),
        strict=True,
    ):
        alone = processor.apply_chat_template(
            [to_messages(row["clips"], row["instruction"], answer)],
            tokenize=True,
            return_dict=True,
        )["input_ids"][0]
        # The template ends the turn with a line break, which nobody need learn.
        assert ids[attended].tolist() == alone.tolist()[:-1]
        assert processor.tokenizer.decode(ids[completion]) == answer + "<|im_end|>"


def test_encoding_a_clip_once_gives_the_scores_of_encoding_it_for_each_answer(tiny_buddy):
    model, processor = tiny_buddy
    batch = PreferenceCollator(processor)(pairs())
    inputs = {
        name: value
        for name, value in batch.items()
        if name not in ("completion_mask", "rejected_kind")
    }
    twice = {
        name: value.repeat(2, *[1] * (value.ndim - 1)) if name.startswith("input_v") else value
        for name, value in inputs.items()
        if name != "clip_index"
    }
    twice["input_features"] = inputs["input_features"].repeat(2, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits, model(**twice).logits)


@pytest.mark.parametrize("freeze_projector", [True, False])
@pytest.mark.parametrize("start", ["full", "new adapter", "adapter"])
def test_the_reference_is_the_model_before_dpo_and_stays_so(
    start, freeze_projector, full_model, sft_adapter, dpo_trainer
):
    folder = sft_adapter if start == "adapter" else full_model
    model_args = arguments_for(folder, use_peft=start == "new adapter")
    rows = pairs()
    # Nothing else is frozen, so that every part that could drift from the reference may.
    frozen = ("layer_mix", "multi_modal_projector") if freeze_projector else ()
    trainer = dpo_trainer(load_dpo_start(model_args, freeze_projector), rows, frozen, max_steps=3)
    batch = trainer.data_collator(rows)
    del batch["rejected_kind"]
    reference = trainer.ref_model or trainer.model
    before = torch.cat(trainer.compute_ref_log_probs(reference, dict(batch)))
    trainer._freeze()
    weights = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()

    # Else the gradient of what is frozen would count in clipping.
    assert not any(
        value.requires_grad
        for name, value in trainer.model.named_parameters()
        if any(part in name for part in frozen)
    )
    first, *_, last = log_of(trainer)
    assert first["rewards/margins"] == first["rewards/chosen"] == first["rewards/rejected"] == 0
    assert first["loss"] == pytest.approx(np.log(2))
    assert last["rewards/margins"] > 0
    after = torch.cat(trainer.compute_ref_log_probs(reference, dict(batch)))
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    changed = [
        name for name, value in trainer.model.named_parameters() if not value.equal(weights[name])
    ]
    assert any("language_model" in name for name in changed)
    assert any("multi_modal_projector" in name for name in changed) == (not freeze_projector)
    assert not any(".ref." in name for name in changed)


def test_a_tiny_random_model_learns_to_prefer_by_heart(full_model, dpo_trainer):
    trainer = dpo_trainer(
        load_dpo_start(arguments_for(full_model), True), pairs(), max_steps=15, learning_rate=2e-3
    )
    trainer.train()
    first, last = log_of(trainer)[0], log_of(trainer)[-1]
    assert last["loss"] < 0.3 * first["loss"]
    assert last["rewards/accuracies"] == 1
    assert all(last[f"rewards/accuracies/{kind}"] == 1 for kind in KINDS)


def test_figures_by_kind_make_up_those_of_all(full_model, dpo_trainer):
    rows = pairs(7)
    trainer = dpo_trainer(load_dpo_start(arguments_for(full_model), True), rows, max_steps=2)
    trainer.train()
    last = log_of(trainer)[-1]
    for figure in ("rewards/margins", "rewards/accuracies"):
        mean = np.mean([last[f"{figure}/{row['rejected_kind']}"] for row in rows])
        assert mean == pytest.approx(last[figure], abs=1e-6)


def test_what_is_preferred_is_what_the_model_finds_more_likely(full_model, dpo_trainer):
    rows = pairs()
    model, processor, reference, _ = load_dpo_start(arguments_for(full_model), True)
    scores = {}
    for answer in ("chosen", "rejected"):
        for row in rows:
            batch = processor.apply_chat_template(
                [to_messages(row["clips"], row["instruction"], row[answer])],
                tokenize=True,
                return_dict=True,
                return_assistant_tokens_mask=True,
            )
            spoken = torch.as_tensor(batch.pop("assistant_masks")).bool()[:, 1:]
            with torch.no_grad():
                logps = model.eval()(**batch).logits[:, :-1].log_softmax(-1)
            token_logps = logps.gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
            scores[answer, row["rejected_kind"]] = token_logps[spoken].sum().item()
    trainer = dpo_trainer((model, processor, reference, None), rows, max_steps=1)
    trainer.train()
    for kind in KINDS:
        expected = float(scores["chosen", kind] > scores["rejected", kind])
        assert log_of(trainer)[0][f"preferred/{kind}"] == expected


@pytest.fixture
def tiny_run(write_song, tmp_path):
    """Function that writes a YAML file for a run of four steps on a built dataset."""
    from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig
    from mixing_buddy.dataset_builder.building import BuildSettings, build_dataset

    root = tmp_path / "songs"
    for index, place in enumerate(("train/Amber", "validation/Basalt")):
        write_song(root / place, duration_s=20.0, seed=index)
    (root / "source.yaml").write_text("name: tiny\nlicence: CC0-1.0\n")
    config = MixingBuddyDatasetConfig(
        sources=(str(root),),
        sampling="sample",
        samples_per_chunk=4,
    )
    settings = BuildSettings(modes=("preference", "single_mix"))
    build_dataset(config, tmp_path / "dataset", settings)

    def write(model: Path, **arguments) -> Path:
        settings = yaml.safe_load((REPOSITORY / "configs" / "nano_dpo.yaml").read_text())
        settings |= {
            "model_name_or_path": str(model),
            "dataset": [str(tmp_path / "dataset")],
            "songs": [str(root)],
            "output_dir": str(tmp_path / "run"),
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
        path.write_text(yaml.safe_dump({**settings, **arguments}))
        return path

    return write


@pytest.fixture
def train(monkeypatch):
    """Function that runs the script in this process."""
    spec = importlib.util.spec_from_file_location("train_dpo", REPOSITORY / "train_dpo.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    def run(config: Path, *flags: str) -> None:
        monkeypatch.setattr(sys, "argv", ["train_dpo.py", "--config", str(config), *flags])
        script.main()

    return run


def losses_of(run: Path) -> list[float]:
    history = json.loads((run / "checkpoint-4" / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


@pytest.mark.parametrize("start", ["full", "adapter"])
def test_the_script_trains_saves_and_resumes_with_the_same_losses(
    start, full_model, sft_adapter, tiny_run, train, tmp_path
):
    config = tiny_run(sft_adapter if start == "adapter" else full_model)
    train(config)
    run = tmp_path / "run"
    straight = losses_of(run)
    assert straight[0] == pytest.approx(np.log(2), abs=1e-6)
    assert len(set(straight)) == 4

    with pytest.raises(SystemExit, match="--resume_from_checkpoint latest"):
        train(config)
    for file in (run / "checkpoint-4").iterdir():
        file.unlink()
    (run / "checkpoint-4").rmdir()
    train(config, "--resume_from_checkpoint", "latest")
    assert losses_of(run) == straight

    if start == "full":
        assert (run / "model.safetensors").is_file()
        assert (run / "modeling_mixing_buddy.py").is_file()
    else:
        # The reference is no part of what is saved, and what is saved is all that an answer needs.
        assert not (run / "ref").exists()
        assert not any((run / "checkpoint-4").glob("*/adapter_model.safetensors"))
        before, after = (load_adapter(folder)[0].state_dict() for folder in (sft_adapter, run))
        assert before.keys() == after.keys()
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed and all(".lora_" in name for name in changed)


def parse(config: Path) -> tuple:
    parser = TrlParser((PreferenceArguments, DPOConfig, ModelArguments))
    return parser.parse_args_and_config(["--config", str(config)])


def test_a_quantised_adapter_starts_at_its_reference_too(sft_adapter, tiny_run):
    config = tiny_run(
        sft_adapter,
        load_in_4bit=True,
        dtype="float32",
        max_steps=2,
        eval_on_start=False,
        eval_strategy="no",
        save_strategy="no",
    )
    trainer = build_trainer(*parse(config))
    trainer.train()
    first, second = log_of(trainer)
    assert first["rewards/margins"] == first["rewards/chosen"] == first["rewards/rejected"] == 0
    assert second["rewards/chosen"] != 0
    trained = {name for name, value in trainer.model.named_parameters() if value.requires_grad}
    assert trained and all(".lora_" in name and ".default." in name for name in trained)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eval_split": "test"}, "test"),
        ({"model_name_or_path": "nano"}, "starts from a model"),
        ({"dataset_config": ["single_mix"]}, "preference"),
        ({"disable_dropout": False}, "dropout"),
        ({"precompute_ref_log_probs": True}, "precompute"),
    ],
)
def test_settings_that_would_spoil_the_comparison_are_refused(
    arguments, message, full_model, tiny_run
):
    config = tiny_run(full_model, **arguments)
    with pytest.raises(MixingBuddyError, match=message):
        build_trainer(*parse(config))
