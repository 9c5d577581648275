"""What a dry run says, against what is really there."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_helpers import sample_rows
from transformers import Qwen2Config, Qwen2Model, TrainingArguments
from trl import DPOConfig, SFTConfig, TrlParser

from mixing_buddy.collation import SFTCollator
from mixing_buddy.modeling import MixingBuddyConfig
from mixing_buddy.presets import build_nano
from mixing_buddy.shapes import config_7b
from mixing_buddy.training import estimate
from mixing_buddy.training.arguments import (
    AugmentationArguments,
    DataArguments,
    HearingArguments,
    LearningArguments,
    ModelArguments,
    ValidationArguments,
)
from mixing_buddy.training.dpo import PreferenceArguments
from mixing_buddy.training.dry_run import describe, meta_model
from mixing_buddy.training.models import lora_config

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))
FULL = estimate.Precision(encoder=4, language_model=4, layers=4, autocast=False)
MIXED = estimate.Precision(encoder=4, language_model=4, layers=4, autocast=True)
ADAPTED = estimate.Precision(encoder=2, language_model=2, layers=2, autocast=True)


def parse(config: Path, *flags: str):
    """Read a configuration as the script that it is for does."""
    classes = (DataArguments, SFTConfig, ModelArguments)
    classes += (AugmentationArguments, LearningArguments, ValidationArguments)
    if config.stem.endswith("hearing"):
        classes = (DataArguments, TrainingArguments, ModelArguments)
        classes += (AugmentationArguments, HearingArguments)
    if config.stem.endswith("dpo"):
        classes = (PreferenceArguments, DPOConfig, ModelArguments)
    parser = TrlParser(classes)
    return parser.parse_args_and_config(["--config", str(config), "--use_cpu", *flags])


def bytes_kept(model, run) -> int:
    """Return the bytes of what autograd keeps of a computation, weights and masks aside."""
    own = {value.untyped_storage().data_ptr() for value in model.state_dict().values()}
    kept = {}

    def keep(value):
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            # Holding on to it, so that no other tensor takes its address.
            kept[storage.data_ptr()] = storage
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        result = run()
    del result
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_parses_and_builds_its_model(config):
    data_args, _, model_args, *options = parse(config)
    if model_args.model_name_or_path.startswith("mixing_buddy/"):
        model_args.model_name_or_path = str(REPOSITORY / model_args.model_name_or_path)
    if model_args.model_name_or_path.startswith("runs/"):
        model_args.model_name_or_path = "7b"  # what an earlier run would have made an adapter of
    model, processor = meta_model(model_args, freeze_audio_tower=data_args.freeze_audio_tower)
    assert all(value.is_meta for value in model.parameters())
    assert any(value.requires_grad for value in model.parameters())
    assert processor.pooling_factor == model.config.pooling_factor
    for arguments in options:
        if isinstance(arguments, (AugmentationArguments, HearingArguments)):
            arguments.check()
        sizes = model.config.projector_hidden_sizes
        if isinstance(arguments, LearningArguments) and arguments.projector_dropouts:
            assert len(arguments.projector_dropouts) == len(sizes)


def test_the_published_settings_are_the_published_ones():
    _, training, model, augmentation, learning, _ = parse(CONFIGS[0].with_name("7b_qlora.yaml"))
    assert model.projector_hidden_sizes == [2048, 4096, 4096, 2048]
    assert (training.learning_rate, training.weight_decay) == (1e-4, 0.05)
    assert (model.lora_r, model.lora_alpha, model.lora_dropout) == (16, 32, 0.1)
    assert augmentation.augment_noise_snr_db == [30.0, 60.0]
    assert learning.norm_matching_weight == 0.05
    draft = CONFIGS[0].with_name("7b_first_draft.yaml")
    _, training, model, augmentation, learning, _ = parse(draft)
    assert model.projector_hidden_act == "relu"
    assert (training.learning_rate, training.max_grad_norm) == (1e-5, 0.8)
    assert training.per_device_train_batch_size * training.gradient_accumulation_steps == 64
    assert not augmentation.any


def test_nano_is_counted_exactly():
    model, _ = build_nano()
    _, _, args, *_ = parse(REPOSITORY / "configs" / "nano_hearing.yaml")
    shapes, _ = meta_model(args, freeze_audio_tower=False)
    total, trained = estimate.count_parameters(shapes)
    assert sum(total.values()) == sum(value.numel() for value in model.parameters())
    assert total == trained
    encoder = model.model.audio_tower
    assert total["audio encoder"] == sum(value.numel() for value in encoder.parameters())


def test_an_adapter_is_counted_exactly(make_tiny_buddy):
    from peft import get_peft_model

    model, _ = make_tiny_buddy()
    whole = sum(value.numel() for value in model.parameters())
    model.model.audio_tower.requires_grad_(False)
    model = get_peft_model(model, lora_config(ModelArguments(use_peft=True)))
    total, trained = estimate.count_parameters(model)
    assert sum(trained.values()) == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained["language model"] == trained["audio encoder"] == trained["kept originals"] == 0
    assert whole == sum(total.values()) - total["adapter"] - total["kept originals"]


def test_the_published_language_model_has_its_published_size():
    args = ModelArguments(model_name_or_path="7b")
    model, _ = meta_model(args, freeze_audio_tower=True)
    total, _ = estimate.count_parameters(model)
    # As the index of Qwen2-7B-Instruct's weights says: 15,231,233,024 bytes in bfloat16.
    assert total["language model"] == 7_615_616_512
    assert config_7b().num_audio_tokens(240_000) == 75
    assert config_7b(pooling_factor=1).num_audio_tokens(240_000) == 749


@pytest.mark.parametrize(
    ("precision", "lora"),
    [(FULL, None), (MIXED, None), (ADAPTED, {"r": 8, "dropout": 0.0})],
    ids=["float32", "autocast", "adapter"],
)
def test_what_a_layer_keeps_is_told_within_a_tenth(precision, lora):
    from peft import LoraConfig, get_peft_model

    batch_size, length, kept = 2, 200, []
    config = {"vocab_size": 64, "hidden_size": 128, "intermediate_size": 512}
    config |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    for num_layers in (1, 3):
        model = Qwen2Model(Qwen2Config(**config, num_hidden_layers=num_layers))
        if lora:
            targets = r".*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
            model = get_peft_model(
                model.bfloat16(), LoraConfig(r=8, target_modules=targets, lora_dropout=0.0)
            )
        inputs = torch.randn(batch_size, length, 128, requires_grad=True)
        inputs = inputs.to(next(model.parameters()).dtype)
        mask = torch.ones(batch_size, length, dtype=torch.long)
        mask[0, -3:] = 0

        def run(model=model, inputs=inputs, mask=mask):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision.autocast):
                return model(inputs_embeds=inputs, attention_mask=mask, use_cache=False)

        count = bytes_kept(model, run)
        if precision.autocast:
            # Copies of trained weights in 16 bits, which the estimate counts by themselves.
            trained = [p for p in model.parameters() if p.requires_grad and p.dim() == 2]
            trained = [p for p in trained if p.shape[0] != config["vocab_size"]]
            count -= 2 * sum(value.numel() for value in trained)
        kept.append(count)
    measured = (kept[1] - kept[0]) / 2
    told = estimate.layer_activation_bytes(
        Qwen2Config(**config), batch_size * length, length, precision, lora
    )
    assert told == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("frozen", [False, True], ids=["trained encoder", "frozen encoder"])
def test_what_a_whole_step_keeps_is_told_within_a_third(make_tiny_buddy, frozen):
    model, processor = make_tiny_buddy()
    model.train()
    model.model.audio_tower.requires_grad_(not frozen)
    rows = sample_rows(4)
    batch = SFTCollator(processor)(rows)
    batch.pop("labels"), batch.pop("stem_levels_labels_db")
    length = batch["input_ids"].shape[1]
    audio_tokens = processor.num_audio_tokens(48_000)
    shape = estimate.Batch(4, 4, 48_000, length - audio_tokens, answer_tokens=0)
    assert shape.sequence_length(model.config) == length
    told = estimate.activation_bytes(
        model.config, shape, FULL, lora=None, frozen_encoder=frozen, checkpointing=False
    )
    if frozen:
        told["audio encoder"] = 0  # held for a moment, not kept
    measured = bytes_kept(model, lambda: model.model(**batch))
    assert sum(told.values()) == pytest.approx(measured, rel=0.33)


def test_checkpointing_keeps_less_and_computes_more():
    config = config_7b()
    batch = estimate.Batch(4, 4, 240_000, text_tokens=130, answer_tokens=40)
    options = {"lora": {"r": 16, "dropout": 0.1}, "frozen_encoder": True}
    kept = [
        sum(
            estimate.activation_bytes(
                config, batch, ADAPTED, checkpointing=checkpointing, **options
            ).values()
        )
        for checkpointing in (True, False)
    ]
    assert kept[0] < kept[1] / 4
    model, _ = meta_model(
        ModelArguments(model_name_or_path="7b", use_peft=True), freeze_audio_tower=True
    )
    flops = [
        estimate.step_flops(
            config,
            batch,
            model,
            frozen_encoder=True,
            cached_encoder=False,
            checkpointing=checkpointing,
        )
        for checkpointing in (True, False)
    ]
    assert 1.3 < flops[0] / flops[1] < 1.6


def test_four_bits_are_a_quarter_and_a_little_of_sixteen():
    from mixing_buddy.modeling.assembly_mixing_buddy import quantization_settings

    assert estimate.quantised_bytes(None) is None
    assert 0.515 < estimate.quantised_bytes(quantization_settings("nf4")) < 0.517
    assert estimate.quantised_bytes(quantization_settings("int8")) == 1.0


def test_a_quantised_layer_takes_the_bytes_it_is_said_to():
    import bitsandbytes as bnb

    layer = bnb.nn.Linear4bit(512, 2048, bias=False, quant_type="nf4", compress_statistics=True).to(
        "cpu"
    )
    state = layer.weight.quant_state
    held = layer.weight.nbytes + state.absmax.nbytes + state.state2.absmax.nbytes
    assert held == pytest.approx(512 * 2048 * (0.5 + (1 + 4 / 256) / 64), rel=0.01)


def test_the_script_prints_and_leaves_everything_alone(tmp_path):
    out, config = tmp_path / "run", REPOSITORY / "configs" / "7b.yaml"
    flags = ["--config", str(config), "--output_dir", str(out), "--dry_run_tflops", "100"]
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "train_sft.py"), *flags, "--dry-run"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "7,615,616,512" in done.stdout
    assert "fits in 24 GiB" in done.stdout
    assert "audio tokens of a clip of 10 s: 75" in done.stdout
    assert "as given (100 TFLOPS)" in done.stdout
    assert not out.exists()


def test_steps_follow_from_rows(song_root, tmp_path):
    from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig
    from mixing_buddy.dataset_builder.building import build_dataset

    built = MixingBuddyDatasetConfig(sources=(str(song_root),))
    build_dataset(built, tmp_path / "dataset")
    flags = ["--dataset", str(tmp_path / "dataset"), "--max_steps", "-1"]
    flags += ["--num_train_epochs", "2", "--per_device_train_batch_size", "8"]
    flags += ["--model_name_or_path", "nano"]
    flags += ["--dataset_config", "single_mix", "--dataset_config_share", "1"]
    data_args, training_args, model_args, *_ = parse(REPOSITORY / "configs" / "nano.yaml", *flags)
    text = describe(data_args, training_args, model_args)
    num_rows = int(text.split(" rows)")[0].rpartition("(")[2])
    assert num_rows > 8
    assert f"steps an epoch: {-(-num_rows // 8)} " in text
    assert f"steps in all: {2 * -(-num_rows // 8)}" in text


def test_shapes_that_are_not_here_are_named(tmp_path):
    from mixing_buddy.errors import MixingBuddyError

    args = ModelArguments(model_name_or_path="7b", text_name_or_path=str(tmp_path / "absent"))
    with pytest.raises(MixingBuddyError, match="not on this machine"):
        meta_model(args, freeze_audio_tower=True)


def test_parts_from_folders_give_their_shapes(mert, language_model):
    args = ModelArguments(
        model_name_or_path="7b",
        audio_name_or_path=str(mert),
        text_name_or_path=str(language_model),
        pooling_factor=3,
    )
    model, _ = meta_model(args, freeze_audio_tower=True)
    assert isinstance(model.config, MixingBuddyConfig)
    assert model.config.text_config.hidden_size == 64
    assert model.config.audio_config.hidden_size == 32
    assert model.config.pooling_factor == 3
