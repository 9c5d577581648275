"""Training steps beside the published recipe's: rows a second, memory, operations.

The published recipe encodes the clips of a batch one by one, gives the language model every frame
of the encoder (750 a clip of 10 s at MERT's strides), has no level features and keeps nothing. Ours
encodes a batch at once, joins ten frames to one token, and can take encoder states from a cache.
Everything else is alike: sizes, the text, what is trained (the encoder is frozen), the trainer.
Weights are random, clips are noise, each row has its own; nothing of the speed depends on that.

Every variant runs in a process of its own, in turns, so that memory is its own. On a GPU time is by
the clock; on a CPU it is the time that the process spent computing, which other work on the machine
changes little. The best round counts.

Usage:
    python benchmarks/train_throughput.py --size nano
    python benchmarks/train_throughput.py --size small --batch-size 2
    python benchmarks/train_throughput.py --size 7b --device cuda --rounds 1 [--quantization nf4]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: Encoder, language model and projector of each size. MERT's strides make 75 frames a second.
_MERT = {
    "model_type": "hubert",
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
}
_MERT_330M = {
    **_MERT,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
}
_SMALL_MERT = {
    **_MERT,
    "conv_dim": [128] * 7,
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "intermediate_size": 1024,
}
_QWEN2_7B = {
    "vocab_size": 152_064,
    "hidden_size": 3584,
    "intermediate_size": 18_944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
}
_SMALL_QWEN2 = {
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
}
SIZES = {
    "tiny": {
        "audio_config": {
            **_SMALL_MERT, "conv_dim": [8] * 7, "hidden_size": 32, "num_hidden_layers": 2,
            "intermediate_size": 64,
        },
        "text_config": {**_SMALL_QWEN2, "hidden_size": 64, "num_hidden_layers": 2},
        "projector_hidden_sizes": [64],
    },
    "nano": {},
    "small": {
        "audio_config": _SMALL_MERT,
        "text_config": _SMALL_QWEN2,
        "projector_hidden_sizes": [512, 1024, 1024, 512],
    },
    "7b": {
        "audio_config": _MERT_330M,
        "text_config": _QWEN2_7B,
        "projector_hidden_sizes": [2048, 4096, 4096, 2048],
    },
}  # fmt: skip

#: What each variant does: frames a token, bands of level features, one clip at a time, cached.
VARIANTS = {
    "published": (1, 0, True, False),
    "published, batched": (1, 0, False, False),
    "ours": (10, 64, False, False),
    "ours, cached": (10, 64, False, True),
}
_NUM_WARMUP_STEPS = 1
_NUM_SAMPLES = 240_000


def build(size: str, variant: str, device: str, nf4: bool, attention: str | None):
    """Build model and processor of a size with random weights."""
    import torch
    from transformers import BitsAndBytesConfig
    from transformers.initialization import no_init_weights
    from transformers.quantizers import AutoHfQuantizer

    from mixing_buddy.presets import build_nano, template_texts
    from mixing_buddy.tokenization import AUDIO_TOKEN, train_tokenizer

    pooling_factor, num_bands, *_ = VARIANTS[variant]
    fields = {**SIZES[size], "pooling_factor": pooling_factor, "num_level_bands": num_bands}
    if "text_config" in fields:
        fields["projector_dropouts"] = [0.1] * len(fields["projector_hidden_sizes"])
        tokenizer = train_tokenizer(template_texts())
        fields["audio_token_id"] = tokenizer.convert_tokens_to_ids(AUDIO_TOKEN)
        fields["text_config"] = {
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": None,
            **fields["text_config"],
        }
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if size == "7b" else default)
    torch.manual_seed(0)
    try:
        # Memory that is never written takes no space, so 7B need not fit before it is quantised.
        with no_init_weights():
            model, processor = build_nano(**fields)
    finally:
        torch.set_default_dtype(default)
    if nf4:
        quantise(model.model.language_model.layers, device)
    model.to(device)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.is_floating_point():
                continue
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.02)
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    if nf4:
        model.is_loaded_in_4bit = model.is_quantized = True
        settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
        model.hf_quantizer = AutoHfQuantizer.from_config(settings)
    if attention is not None:
        model.set_attn_implementation(attention)
    model.model.audio_tower.requires_grad_(False)
    return model, processor


def quantise(layers, device: str) -> None:
    """Replace the linear layers of a language model by random NF4 ones, one after another."""
    import bitsandbytes
    import torch

    for layer in layers:
        for name, linear in list(layer.named_modules()):
            if not isinstance(linear, torch.nn.Linear):
                continue
            parent = layer.get_submodule(name.rpartition(".")[0])
            weight = torch.empty_like(linear.weight, device=device).normal_(0.0, 0.02)
            four_bit = bitsandbytes.nn.Linear4bit(
                linear.in_features, linear.out_features, linear.bias is not None,
                compute_dtype=torch.bfloat16, compress_statistics=True, quant_type="nf4",
                device="meta",
            )  # fmt: skip
            four_bit.weight = bitsandbytes.nn.Params4bit(
                weight.cpu(), requires_grad=False, compress_statistics=True, quant_type="nf4"
            ).to(device)
            if linear.bias is not None:
                four_bit.bias = torch.nn.Parameter(torch.zeros_like(linear.bias, device=device))
            setattr(parent, name.rpartition(".")[2], four_bit)


def encode_one_by_one(core) -> None:
    """Make a model encode clips in a loop."""
    import torch

    def loop(input_values, lengths=None):
        each = [core._encode_equal(clip[None]) for clip in input_values]
        return tuple(torch.cat(states) for states in zip(*each, strict=True))

    core.encode = loop


def make_rows(count: int):
    """Return a dataset of `count` rows: noise with real texts."""
    import numpy as np
    from datasets import Dataset

    from mixing_buddy import prompts
    from mixing_buddy.flaws import Category
    from mixing_buddy.rendering import POWER_BLOCK
    from mixing_buddy.stems import STEMS

    rng = np.random.default_rng(0)
    rows = [
        {
            "clips": [rng.standard_normal(_NUM_SAMPLES).astype(np.float32)],
            "stem_powers": [rng.random((_NUM_SAMPLES // POWER_BLOCK, 4)).astype(np.float32)],
            "instruction": prompts.instruction(
                index % prompts.NUM_INSTRUCTIONS, duration_s=10.0, stems=STEMS, anchor="drums"
            ),
            "response": prompts.response(
                index % prompts.NUM_RESPONSES, list(Category)[index % 5], target="bass",
                anchor="drums",
            ),
        }
        for index in range(count)
    ]  # fmt: skip

    def look_up(batch):
        return {name: [rows[index][name] for index in batch["index"]] for name in rows[0]}

    return Dataset.from_dict({"index": list(range(count))}).with_transform(look_up)


def measure(arguments: argparse.Namespace) -> dict:
    """Train one variant for some steps and return its figures."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import TrainerCallback
    from trl import ModelConfig, SFTConfig

    from mixing_buddy.collation import SFTCollator
    from mixing_buddy.training.feature_cache import use_feature_cache
    from mixing_buddy.training.kernels import prepare_to_compile
    from mixing_buddy.training.models import keep_trainables_in_float32, lora_config
    from mixing_buddy.training.sft import MixingBuddySFTTrainer

    cuda = arguments.device == "cuda"
    _, _, one_by_one, cached = VARIANTS[arguments.variant]
    model, processor = build(
        arguments.size, arguments.variant, arguments.device, arguments.quantization == "nf4",
        arguments.attn_implementation,
    )  # fmt: skip
    if one_by_one:
        encode_one_by_one(model.model)
    num_steps = _NUM_WARMUP_STEPS + arguments.steps
    rows = make_rows(arguments.batch_size * num_steps)
    times: list[tuple[float, float]] = []

    def now() -> float:
        if not cuda:
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    class Clock(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            self.begun = now()

        def on_step_end(self, args, state, control, **kwargs):
            times.append((self.begun, now()))

    with tempfile.TemporaryDirectory() as folder:
        trainer = MixingBuddySFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=folder,
                dataset_kwargs={"skip_prepare_dataset": True},
                remove_unused_columns=False,
                per_device_train_batch_size=arguments.batch_size,
                max_steps=num_steps,
                bf16=cuda,
                use_cpu=not cuda,
                activation_checkpointing=arguments.size == "7b",
                torch_compile=arguments.torch_compile,
                report_to="none",
                disable_tqdm=True,
                save_strategy="no",
                logging_steps=num_steps,
            ),
            train_dataset=rows,
            data_collator=SFTCollator(processor),
            processing_class=processor,
            peft_config=lora_config(
                ModelConfig(use_peft=arguments.size != "nano", lora_r=16, lora_alpha=32)
            ),
            callbacks=[Clock()],
        )
        keep_trainables_in_float32(trainer.model)
        prepare_to_compile(trainer.model, trainer.args)
        started = now()
        if cached:
            use_feature_cache(trainer, Path(folder) / "cache")
        filling_s = now() - started
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        trainer.train()
        peak = (
            torch.cuda.max_memory_allocated()
            if cuda
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        )
        batch = trainer._prepare_inputs(
            trainer.data_collator([rows[index] for index in range(arguments.batch_size)])
        )
        with FlopCounterMode(display=False) as counter:
            trainer.model.train()
            trainer.accelerator.backward(trainer.compute_loss(trainer.model, batch))
    steps = [end - begin for begin, end in times[_NUM_WARMUP_STEPS:]]
    # From one step's end to the next one's, which takes in the collator's work.
    periods = [
        after[1] - before[1]
        for before, after in zip(
            times[_NUM_WARMUP_STEPS - 1 :], times[_NUM_WARMUP_STEPS:], strict=False
        )
    ]
    return {
        "tokens": int(batch["input_ids"].shape[1]),
        "step_s": statistics.median(steps),
        "period_s": statistics.median(periods),
        "peak_gb": peak / 1e9,
        "tflop": counter.get_total_flops() / arguments.batch_size / 1e12,
        "filling_s": filling_s / len(rows) if cached else None,
    }


def run_apart(arguments: list[str], variant: str) -> dict:
    """Measure a variant in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments, "--variant", variant], capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{variant}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print the table, or one variant's figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="nano")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quantization", choices=("none", "nf4"), default="none")
    parser.add_argument("--attn-implementation")
    parser.add_argument("--torch-compile", action="store_true")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4, help="steps timed in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variant", choices=VARIANTS, help="measure only this, print JSON")
    arguments = parser.parse_args()
    if arguments.variant is not None:
        print(json.dumps(measure(arguments)))
        return
    rounds = [
        {variant: run_apart(sys.argv[1:], variant) for variant in VARIANTS}
        for _ in range(arguments.rounds)
    ]
    print(
        f"{arguments.size} on {arguments.device}, batch {arguments.batch_size}, quantisation "
        f"{arguments.quantization}; rows a second\n\n| variant | tokens a row | step alone | with "
        "collation | ratio | peak memory, GB | TFLOP a row |\n|---|---|---|---|---|---|---|"
    )
    best = {
        variant: {
            name: None if value is None else min(each[variant][name] for each in rounds)
            for name, value in rounds[0][variant].items()
        }
        for variant in VARIANTS
    }
    for variant, figures in best.items():
        rate, whole = (arguments.batch_size / figures[name] for name in ("step_s", "period_s"))
        ratio = best["published"]["period_s"] / figures["period_s"]
        print(
            f"| {variant} | {figures['tokens']} | {rate:.2f} | {whole:.2f} | {ratio:.1f} | "
            f"{figures['peak_gb']:.2f} | {figures['tflop']:.3f} |"
        )
    filling_s = best["ours, cached"]["filling_s"]
    print(f"\nFilling the cache took {1000 * filling_s:.0f} ms a clip.")


if __name__ == "__main__":
    main()
