"""``--dry_run``: what a run would need, printed before it is started. Loads no weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, TrainingArguments
from trl import get_quantization_config

from mixing_buddy.assembly import build_processor
from mixing_buddy.chunks import CHUNK_S
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.presets import QWEN2_7B, build_nano, template_texts
from mixing_buddy.shapes import config_7b
from mixing_buddy.tokenization import train_tokenizer
from mixing_buddy.training import estimate
from mixing_buddy.training.arguments import DataArguments, ModelArguments

_SAMPLE_RATE = 24_000
#: Peaks of some GPUs in 16 bits without sparsity, in TFLOPS, as their makers state them.
_PEAKS = {"H100": 989.0, "A100": 312.0, "RTX 4090": 165.0}


def dry_run_flags(flags: list[str]) -> list[str]:
    """Let a dry run of a GPU's settings pass TRL's checks on a machine without one."""
    wanted = any(flag.replace("-", "_").startswith("__dry_run") for flag in flags)
    return [*flags, "--use_cpu"] if wanted and not torch.cuda.is_available() else flags


def meta_model(model_args: ModelArguments, *, freeze_audio_tower: bool):
    """Build the model that would be trained, with shapes and no weights.

    Returns:
        The model on the meta device, with its adapter if there is one, and its processor.

    Raises:
        MixingBuddyError: if the shapes are not known without the network.
    """
    from peft import get_peft_model

    from mixing_buddy.modeling import MixingBuddyForConditionalGeneration
    from mixing_buddy.training.models import lora_config

    with torch.device("meta"):
        if model_args.model_name_or_path == "nano":
            model, processor = build_nano(**model_args.config_fields())
        else:
            config, processor = _config_and_processor(model_args)
            model = MixingBuddyForConditionalGeneration(config)
    if freeze_audio_tower:
        model.model.audio_tower.requires_grad_(False)
    adapter = lora_config(model_args)
    if adapter is not None:
        model = get_peft_model(model, adapter, low_cpu_mem_usage=True)
    return model, processor


def _config_and_processor(model_args: ModelArguments):
    from mixing_buddy.modeling import MixingBuddyConfig, MixingBuddyProcessor
    from mixing_buddy.modeling.assembly_mixing_buddy import load_tokenizer

    name = model_args.model_name_or_path
    try:
        if name != "7b":
            config = MixingBuddyConfig.from_pretrained(name, local_files_only=True)
            return config, MixingBuddyProcessor.from_pretrained(name, local_files_only=True)
        parts = {}
        for field, part in (
            ("audio_config", model_args.audio_name_or_path),
            ("text_config", model_args.text_name_or_path),
        ):
            if part is not None:
                parts[field] = _shape(field, part)
    except OSError as error:
        raise MixingBuddyError(
            f"A dry run reads no network, and the shapes of {name} are not on this machine: {error}"
        ) from error
    config = config_7b(**parts, **model_args.config_fields())
    text = model_args.text_name_or_path or QWEN2_7B
    try:
        tokenizer = load_tokenizer(text, local_files_only=True)
    except (OSError, ValueError):
        # Nano's knows the same words, so it counts nearly alike; `describe` says so.
        tokenizer = train_tokenizer(template_texts())
    return config, build_processor(config, tokenizer)


def _shape(field: str, part: str) -> dict:
    from transformers import HubertConfig

    if field == "text_config":
        return AutoConfig.from_pretrained(part, local_files_only=True).to_dict()
    fields, _ = HubertConfig.get_config_dict(part, local_files_only=True)
    known = HubertConfig().to_dict()
    return {key: value for key, value in fields.items() if key in known} | {"model_type": "hubert"}


def typical_batch(data_args: DataArguments, batch_size: int, processor):
    """Return a batch of typical length, and the number of rows if the datasets are here."""
    from mixing_buddy.conversations import to_messages
    from mixing_buddy.rows import spread
    from mixing_buddy.training.rows import open_parts

    num_rows, texts, num_clips = None, _template_examples(), 1
    if all(Path(dataset).is_dir() for dataset in data_args.dataset):
        rows = open_parts(data_args, data_args.train_split)
        num_rows = sum(map(len, rows))
        sample = [row for part in rows for row in spread(part, 64)]
        texts = [(row["instruction"], row["response"]) for row in sample]
        num_clips = max(len(row["audios"]) for row in sample)
    silence = np.zeros(round(CHUNK_S * _SAMPLE_RATE), np.float32)

    def num_tokens(instruction, response):
        messages = to_messages([silence] * num_clips, instruction, response)
        text = processor.apply_chat_template(messages, tokenize=False)
        return len(processor.tokenizer(text)["input_ids"]) - num_clips

    lengths = [num_tokens(*text) for text in texts]
    answers = [len(processor.tokenizer(response)["input_ids"]) + 1 for _, response in texts]
    batch = estimate.Batch(
        num_samples=batch_size,
        num_clips=batch_size * num_clips,
        clip_samples=silence.size,
        # Rows are padded to the longest of the batch.
        text_tokens=max(lengths),
        answer_tokens=max(answers),
    )
    return batch, num_rows


def _template_examples() -> list[tuple[str, str]]:
    from mixing_buddy import prompts
    from mixing_buddy.flaws import Category
    from mixing_buddy.stems import STEMS

    return [
        (
            prompts.instruction(index, duration_s=10.0, stems=STEMS, anchor="drums"),
            prompts.response(index, Category.QUIET, target="vocals", anchor="drums"),
        )
        for index in range(prompts.NUM_INSTRUCTIONS)
    ]


def describe(
    data_args: DataArguments, training_args: TrainingArguments, model_args: ModelArguments
) -> str:
    """Say what a run would need, as text for a terminal.

    Raises:
        MixingBuddyError: if the model's shapes are not known.
    """
    frozen = data_args.freeze_audio_tower
    model, processor = meta_model(model_args, freeze_audio_tower=frozen)
    config = model.config
    batch, num_rows = typical_batch(data_args, training_args.per_device_train_batch_size, processor)
    precision = _precision(training_args, model_args)
    checkpointing = bool(training_args.activation_checkpointing)
    lora = {"r": model_args.lora_r, "dropout": model_args.lora_dropout}
    lora = lora if model_args.use_peft else None
    kept = {
        setting: estimate.activation_bytes(
            config, batch, precision, lora=lora, frozen_encoder=frozen, checkpointing=setting
        )
        for setting in (True, False)
    }
    total, trained = estimate.count_parameters(model)
    num_trained = sum(trained.values())
    weights = estimate.weight_bytes(model, precision)
    memory = {f"weights, {part}": size for part, size in weights.items()}
    memory["gradients"] = 4 * num_trained
    memory["optimiser"] = estimate.optimiser_bytes(str(training_args.optim), num_trained)
    if precision.autocast:
        memory["16-bit copies of trained weights"] = 2 * num_trained
    memory |= {f"activations, {part}": size for part, size in kept[checkpointing].items()}
    if precision.layers < precision.language_model:
        text = config.text_config
        # Quantised weights are unpacked one matrix at a time.
        memory["unpacked weights"] = 2 * text.hidden_size * text.intermediate_size
    memory["CUDA and fragments (assumed)"] = estimate.OVERHEAD_BYTES
    lines = ["Parameters"]
    lines += [f"  {part:<34}{total[part]:>16,}{trained[part]:>16,} trained" for part in total]
    share = num_trained / sum(total.values())
    lines += [f"  {'all':<34}{sum(total.values()):>16,}{num_trained:>16,} trained ({share:.2%})"]
    setting = "with" if checkpointing else "without"
    lines += [f"Memory at batch {batch.num_samples}, {setting} activation checkpointing"]
    lines += [f"  {name:<34}{size / 2**30:>12.2f} GiB" for name, size in memory.items()]
    peak = sum(memory.values())
    other = peak + sum(kept[not checkpointing].values()) - sum(kept[checkpointing].values())
    lines += [
        f"  {'all':<34}{peak / 2**30:>12.2f} GiB "
        f"({'without' if checkpointing else 'with'} checkpointing {other / 2**30:.2f} GiB)",
        f"  {'fits' if peak < 24 * 2**30 else 'does not fit'} in 24 GiB",
    ]
    audio_tokens = config.num_audio_tokens(batch.clip_samples)
    lines += [
        "Tokens",
        f"  audio tokens of a clip of 10 s: {audio_tokens}",
        f"  tokens of the longest sample: {batch.sequence_length(config)}",
    ]
    if len(processor.tokenizer) < config.text_config.vocab_size // 2:
        lines += ["  (text counted with nano's tokenizer; the model's own is not on this machine)"]
    lines += _steps(training_args, num_rows, data_args)
    lines += _time(config, batch, model, training_args, model_args, frozen, checkpointing)
    return "\n".join(lines)


def _precision(training_args, model_args) -> estimate.Precision:
    nano = model_args.model_name_or_path == "nano"
    # The published checkpoints: Qwen2 in bfloat16, MERT in float32.
    by_dtype = {"float32": (4, 4), "bfloat16": (2, 2), "float16": (2, 2)}
    encoder, language_model = by_dtype.get(model_args.dtype, (4, 4) if nano else (4, 2))
    quantised = estimate.quantised_bytes(get_quantization_config(model_args))
    return estimate.Precision(
        encoder=encoder,
        language_model=language_model,
        layers=language_model if quantised is None else quantised,
        autocast=bool(training_args.bf16 or training_args.fp16),
    )


def _steps(training_args, num_rows: int | None, data_args) -> list[str]:
    rows = (
        training_args.per_device_train_batch_size
        * training_args.gradient_accumulation_steps
        * training_args.world_size
    )
    lines = ["Steps", f"  rows a step, all processes: {rows}"]
    if num_rows is None:
        found = f"  {', '.join(data_args.dataset)}: not on this machine, so the number of steps is "
        steps = training_args.max_steps
        return [*lines, found + (f"max_steps: {steps}" if steps > 0 else "rows / rows a step")]
    epoch = -(-num_rows // rows)
    steps = training_args.max_steps
    if steps <= 0:
        steps = round(epoch * training_args.num_train_epochs)
    return [*lines, f"  steps an epoch: {epoch} ({num_rows} rows)", f"  steps in all: {steps}"]


def _time(config, batch, model, training_args, model_args, frozen, checkpointing) -> list[str]:
    flops = training_args.gradient_accumulation_steps * estimate.step_flops(
        config,
        batch,
        model,
        frozen_encoder=frozen,
        cached_encoder=False,
        checkpointing=checkpointing,
    )
    lines = [
        f"Time, at {estimate.EFFICIENCY:.0%} of a GPU's peak in 16 bits (assumed)",
        f"  operations a step and process: {flops / 1e12:.1f} TFLOP",
    ]
    peak, whose = estimate.peak_tflops(model_args.dry_run_tflops)
    peaks = _PEAKS if peak is None else {whose: peak}
    return lines + [
        f"  {name} ({tflops:g} TFLOPS): {flops / tflops / 1e12 / estimate.EFFICIENCY:.2f} s a step"
        for name, tflops in peaks.items()
    ]
