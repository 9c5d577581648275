"""What a run will need: parameters, memory and time, from shapes alone.

Parameters are counted on the model that will be trained, built without weights. Memory follows
from them and from what autograd keeps of one batch; docs/big-model.md states the formulas.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import torch

from mixing_buddy.modeling.configuration_mixing_buddy import num_audio_frames

#: Optimisers that keep two bytes for each trained weight; all others count as AdamW in float32.
_EIGHT_BIT_OPTIMISERS = ("adamw_8bit", "paged_adamw_8bit", "adamw_bnb_8bit", "lion_8bit")
#: Share of a GPU's peak that training reaches here.
EFFICIENCY = 0.4
#: CUDA's context, the allocator's fragments and the libraries' workspaces.
OVERHEAD_BYTES = int(1.5 * 2**30)
_PARTS = {
    "audio_tower": "audio encoder",
    "layer_mix": "layer mix",
    "multi_modal_projector": "projector",
    "language_model": "language model",
    "lm_head": "language model",
    "level_head": "level head",
}


@dataclass(frozen=True)
class Precision:
    """In how many bytes numbers are held.

    Args:
        encoder: a weight of the audio encoder.
        language_model: a weight of the language model that is not quantised.
        layers: a weight of the language model's linear layers, as quantised.
        autocast: whether computation is in 16 bits where weights are in 32.
    """

    encoder: float
    language_model: float
    layers: float
    autocast: bool

    @property
    def compute(self) -> int:
        """Bytes of a number that the language model computes with."""
        return 2 if self.autocast or self.language_model == 2 else 4


@dataclass(frozen=True)
class Batch:
    """One forward pass of one process.

    Args:
        num_samples: rows.
        num_clips: clips of all rows.
        clip_samples: length of a clip in samples.
        text_tokens: tokens of a row that are not audio.
        answer_tokens: those of them to learn.
    """

    num_samples: int
    num_clips: int
    clip_samples: int
    text_tokens: int
    answer_tokens: int

    def sequence_length(self, config) -> int:
        """Return the tokens of a row, audio and text."""
        audio = config.num_audio_tokens(self.clip_samples) * self.num_clips // self.num_samples
        return audio + self.text_tokens


def count_parameters(model) -> tuple[Counter, Counter]:
    """Count parameters by part.

    Args:
        model: a Mixing Buddy, or a PEFT model around one, on any device.

    Returns:
        All parameters and the trained ones, by part; what PEFT adds is `"adapter"`, and the
        untrained originals that it keeps of parts trained in full are `"kept originals"`.
    """
    total, trained = Counter(), Counter()
    for name, parameter in model.named_parameters():
        part = next(part for module, part in _PARTS.items() if module in name)
        if ".lora_" in name:
            part = "adapter"
        elif ".original_module." in name:
            part = "kept originals"
        total[part] += parameter.numel()
        trained[part] += parameter.numel() * parameter.requires_grad
    return total, trained


def quantised_bytes(quantization_config) -> float | None:
    """Return the bytes that a quantised weight takes, its share of the scales included.

    NF4 keeps one scale for 64 weights: 4 bytes, or with double quantisation 1 byte and 4 bytes for
    256 scales (Dettmers et al. 2023). LLM.int8() keeps 4 bytes a row, which is next to nothing.
    """
    if quantization_config is None:
        return None
    if quantization_config.load_in_8bit:
        return 1.0
    nested = quantization_config.bnb_4bit_use_double_quant
    return 0.5 + ((1 + 4 / 256) if nested else 4) / 64


def weight_bytes(model, precision: Precision) -> Counter:
    """Return the bytes of the weights, by part; trained ones are held in float32."""
    sizes = Counter()
    for name, parameter in model.named_parameters():
        part = next(part for module, part in _PARTS.items() if module in name)
        if ".lora_" in name:
            part = "adapter"
        elif ".original_module." in name:
            part = "kept originals"
        if parameter.requires_grad:
            each = 4
        elif "language_model.layers" in name and name.endswith("proj.base_layer.weight"):
            each = precision.layers
        elif "language_model" in name or "lm_head" in name:
            each = precision.language_model
        else:
            each = precision.encoder
        sizes[part] += math.ceil(parameter.numel() * each)
    return sizes


def layer_activation_bytes(
    text_config, num_tokens: int, sequence_length: int, precision: Precision, lora: dict | None
) -> int:
    """Return what autograd keeps of one decoder layer without checkpointing.

    Args:
        text_config: configuration of the language model.
        num_tokens: tokens of the whole batch, padding included.
        sequence_length: tokens of a row.
        precision: bytes of numbers.
        lora: `r` and `dropout` of the adapter; None where all weights are trained.
    """
    width, inner = text_config.hidden_size, text_config.intermediate_size
    head = getattr(text_config, "head_dim", None) or width // text_config.num_attention_heads
    query = head * text_config.num_attention_heads
    c = precision.compute
    # A frozen norm keeps its input in float32; a trained one what it scales, too.
    kept = 2 * 4 * width * (1 if lora else 2)
    # Casting to 16 bits copies the input for each of q, k, v, gate and up; else they share it.
    kept += c * width * (5 if precision.autocast else 2)
    # Queries, keys and values (repeated for every head); the output, which o_proj reads.
    kept += c * query * (5 if lora and precision.autocast else 4)
    kept += c * inner * 4  # gate, its activation, up, and what down_proj reads
    kept += c * sequence_length  # the mask
    if lora:
        kept += 7 * c * lora["r"]
        # A mask of one byte a number that is dropped, for each of the seven layers.
        kept += (5 * width + query + inner) * bool(lora["dropout"])
    return num_tokens * kept


def activation_bytes(
    config,
    batch: Batch,
    precision: Precision,
    *,
    lora: dict | None,
    frozen_encoder: bool,
    checkpointing: bool,
) -> Counter:
    """Return what is kept of one forward pass, by part.

    Args:
        config: a ``MixingBuddyConfig``.
        batch: what passes.
        precision: bytes of numbers.
        lora: as for ``layer_activation_bytes``.
        frozen_encoder: whether the encoder keeps nothing for a backward pass.
        checkpointing: whether layers are computed again in the backward pass.
    """
    text, audio = config.text_config, config.audio_config
    length = batch.sequence_length(config)
    tokens = batch.num_samples * length
    c = precision.compute
    layer = layer_activation_bytes(text, tokens, length, precision, lora)
    kept = Counter()
    if checkpointing:
        stream = 2 if precision.language_model == 2 else 4
        inputs = tokens * text.hidden_size * stream
        kept["language model"] = text.num_hidden_layers * inputs + layer
    else:
        kept["language model"] = text.num_hidden_layers * layer
    # The last norm, and embeddings before and after audio takes its places.
    kept["language model"] += tokens * text.hidden_size * (8 + 2 * c)
    # TRL scores tokens in tiles of 32,768 of the vocabulary: logits, probabilities, gradient.
    tile = min(text.vocab_size, 32_768)
    scored = batch.num_samples * batch.answer_tokens
    kept["scores"] = scored * (3 * 4 * tile + 2 * c * text.hidden_size)
    audio_tokens = batch.num_clips * config.num_audio_tokens(batch.clip_samples)
    steps = config.pooling_factor // math.prod(config.level_encoder_strides)
    frame = audio.hidden_size * config.pooling_factor + config.level_encoder_size * steps
    sizes = [frame, *config.projector_hidden_sizes]
    # Each layer keeps its input, what the activation and the norm read, and the dropout's mask.
    kept["projector"] = audio_tokens * (
        c * sum(sizes) + sum((2 * c + 5) * size for size in sizes[1:])
    )
    kept["audio encoder"] = batch.num_clips * _encoder_bytes(
        audio, batch.clip_samples, 4 if precision.encoder == 4 else 2, frozen_encoder
    )
    return kept


def _encoder_bytes(audio, clip_samples: int, c: int, frozen: bool) -> int:
    """Return what the encoder holds of one clip."""
    lengths = _conv_lengths(audio, clip_samples)
    frames, width = lengths[-1], audio.hidden_size
    states = (audio.num_hidden_layers + 1) * frames * width * c
    if frozen:
        # Nothing is kept but the states to mix; the first convolution's output, before and
        # after its norm and activation, is the largest thing at any one time.
        return max(3 * audio.conv_dim[0] * lengths[0] * c, states)
    convolutions = sum(3 * c * dim * n for dim, n in zip(audio.conv_dim, lengths, strict=True))
    # Per layer 34 bytes a number in 16 bits (Korthikanti et al. 2022), attention computed in tiles.
    layers = audio.num_hidden_layers * 17 * c * frames * width
    return convolutions + layers + states


def _conv_lengths(audio, clip_samples: int) -> list[int]:
    return [
        num_audio_frames(
            clip_samples, audio.conv_kernel[: layer + 1], audio.conv_stride[: layer + 1]
        )
        for layer in range(len(audio.conv_kernel))
    ]


def step_flops(
    config, batch: Batch, model, *, frozen_encoder: bool, cached_encoder: bool, checkpointing: bool
) -> int:
    """Return the floating-point operations of one forward and backward pass.

    Two for each weight and token forward; as many backward for the gradient of what a layer reads,
    and as many again for the gradient of each trained weight; a checkpointed layer runs forward
    twice.

    Args:
        config: a ``MixingBuddyConfig``.
        batch: what passes.
        model: the model that will be trained, for its trained weights.
        frozen_encoder: whether the encoder has no backward pass.
        cached_encoder: whether the encoder's states come from a cache.
        checkpointing: whether the language model's layers are computed again.
    """
    text, audio = config.text_config, config.audio_config
    length = batch.sequence_length(config)
    tokens = batch.num_samples * length
    audio_tokens = batch.num_clips * config.num_audio_tokens(batch.clip_samples)
    flops = 0
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2 or ".original_module." in name or "embed_tokens" in name:
            continue
        if "language_model" in name:
            passes, positions = 2 + checkpointing, tokens
        elif "lm_head" in name:
            passes, positions = 2, batch.num_samples * batch.answer_tokens
        elif "multi_modal_projector" in name or "level_head" in name:
            passes, positions = 2, audio_tokens
        else:
            continue
        flops += 2 * parameter.numel() * positions * (passes + parameter.requires_grad)
    # Scores and sums over the positions before each one: half of the square.
    scores = 2 * tokens * length * text.hidden_size * text.num_hidden_layers
    flops += scores * (3 + checkpointing)
    if not cached_encoder:
        lengths, dims = _conv_lengths(audio, batch.clip_samples), [1, *audio.conv_dim]
        forward = sum(
            2 * kernel * dims[layer] * dims[layer + 1] * lengths[layer]
            for layer, kernel in enumerate(audio.conv_kernel)
        )
        width = audio.hidden_size
        per_layer = 4 * width**2 + 2 * width * audio.intermediate_size + 2 * lengths[-1] * width
        forward += 2 * lengths[-1] * per_layer * audio.num_hidden_layers
        flops += batch.num_clips * forward * (1 if frozen_encoder else 3)
    return flops


def optimiser_bytes(optimiser: str, num_trained: int) -> int:
    """Return the bytes of an optimiser's two moments."""
    return num_trained * (2 if optimiser in _EIGHT_BIT_OPTIMISERS else 8)


def peak_tflops(given: float | None) -> tuple[float | None, str]:
    """Return the peak of a GPU in 16 bits, in TFLOPS, and whose it is."""
    from trl.trainer.utils import get_peak_flops

    if given is not None:
        return given, "as given"
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name(0)
        peak = get_peak_flops(name, "bfloat16")
        return (peak / 1e12, name) if peak else (None, name)
    return None, "no GPU here"
