"""The two sizes: ``nano``, built from scratch, and ``7b``, assembled from pretrained parts."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

from mixing_buddy.assembly import build_processor, from_parts
from mixing_buddy.tokenization import AUDIO_TOKEN, train_tokenizer

#: The published system's parts. MERT is taken at the commit that its repository stands at when it
#: is first loaded, which is then written into the model's configuration.
MERT_330M = "m-a-p/MERT-v1-330M"
QWEN2_7B = "Qwen/Qwen2-7B-Instruct"
QWEN2_7B_REVISION = "f2826a00ceef68f0f2b946d945ecc0477ce4450c"


def template_texts() -> list[str]:
    """Return instructions and answers of every mode and kind of prompt, in a fixed order.

    Every template is there with every stem, claim, direction and size; not every combination,
    since a tokenizer learns from words. Preference pairs use the answers of ``single_mix``.
    """
    from mixing_buddy import prompts
    from mixing_buddy.claims import DESCRIPTIONS, PromptCategory, possible_claims
    from mixing_buddy.flaws import Category
    from mixing_buddy.stems import ADVISED_STEMS, STEMS

    texts = [prompts.SYSTEM_MESSAGE]
    pairs = list(permutations(ADVISED_STEMS, 2))
    kinds = product(("single_mix", "stems"), PromptCategory, Category, pairs)
    for mode, prompt_category, category, (target, anchor) in kinds:
        kind = {"mode": mode, "prompt_category": prompt_category, "anchor": anchor}
        claims = possible_claims(prompt_category, category, target=target, anchor=anchor)
        if not claims and prompt_category in DESCRIPTIONS:
            continue
        for index in range(prompts.NUM_RESPONSES):
            kind["claim"] = claims[index % len(claims)] if claims else None
            # Now and then a chunk is a whole song, and shorter.
            duration_s = 5.8 if category is Category.NO_ERROR else 10.0
            texts.append(prompts.instruction(index, duration_s=duration_s, stems=STEMS, **kind))
            reason = index % prompts.NUM_REASONS
            texts.append(prompts.response(index, category, target=target, reason=reason, **kind))
    sizes_db = [{stem: size_db} for stem in STEMS for size_db in (-11.5, -4.0, 6.5, 12.0)]
    moves_db = [{}, *sizes_db, {"bass": 3.5, "drums": -7.0}, dict.fromkeys(ADVISED_STEMS, -10.5)]
    for index in range(prompts.NUM_RESPONSES):
        for anchor in (None, *ADVISED_STEMS):
            texts.append(
                prompts.differential_instruction(index, duration_s=10.0, stems=STEMS, anchor=anchor)
            )
        for changes_db in moves_db:
            texts.append(prompts.differential_response(index, changes_db, anchor=None))
    return texts


def build_nano(**overrides: Any):
    """Build an untrained nano: HuBERT-structured encoder, projector and Qwen2, all small.

    The encoder is coarse (12.5 frames a second, few channels), since on two CPU cores a waveform
    encoder of MERT's strides would take nearly all the time; the level features, with convolutions
    of their own, carry most of what nano hears.

    Args:
        overrides: fields of ``MixingBuddyConfig`` to set otherwise.

    Returns:
        Model and processor.
    """
    from transformers import GenerationConfig

    from mixing_buddy.modeling import MixingBuddyConfig, MixingBuddyForConditionalGeneration

    tokenizer = train_tokenizer(template_texts())
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    fields = {
        "audio_config": {
            "model_type": "hubert",
            "conv_dim": [8, 32],
            "conv_kernel": [160, 32],
            "conv_stride": [80, 24],
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 8,
            "hidden_dropout": 0.0,
            "attention_dropout": 0.0,
            "activation_dropout": 0.0,
        },
        "text_config": {
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": eos,
            "pad_token_id": pad,
        },
        "audio_token_id": tokenizer.convert_tokens_to_ids(AUDIO_TOKEN),
        "num_level_bands": 64,
        # Windows of 2048 samples would hardly overlap at nano's frames of 1920.
        "level_fft_size": 4096,
        "level_encoder_channels": [16, 32, 48],
        "level_encoder_strides": [1, 1, 5],
        "meter_channels": 32,
        "num_context_layers": 2,
        "num_context_heads": 6,
        "context_mlp_size": 576,
        "pooling_factor": 5,
        "projector_hidden_sizes": [512],
        "projector_dropouts": [0.1],
        "level_loss_weight": 1.0,
    }
    config = MixingBuddyConfig(**{**fields, **overrides})
    model = MixingBuddyForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=96, eos_token_id=eos, pad_token_id=pad
    )
    processor = build_processor(config, tokenizer)
    if config.meter_channels:
        begin_as_loudness_meter(model, processor)
    return model, processor


def begin_as_loudness_meter(model, processor) -> None:
    """Give every band of a model's meter the weight that it has in loudness (ITU-R BS.1770-4)."""
    import numpy as np
    import torch

    from mixing_buddy.loudness import k_weighting_power
    from mixing_buddy.modeling.hearing_mixing_buddy import LEVEL_SCALE_DB

    extractor = processor.feature_extractor
    filters = extractor.band_filters()
    rate = extractor.sampling_rate
    frequencies_hz = np.linspace(0, rate / 2, len(filters))
    # White noise in each band: what K-weighting leaves of its power.
    weights = k_weighting_power(frequencies_hz, rate) @ filters / filters.sum(axis=0)
    gains = model.model.multi_modal_projector.meter.band_gains
    with torch.no_grad():
        gains.copy_(torch.from_numpy(10 * np.log10(weights) / LEVEL_SCALE_DB))


def build_7b(
    *,
    audio: str = MERT_330M,
    text: str = QWEN2_7B,
    text_revision: str | None = None,
    **kwargs: Any,
):
    """Assemble MERT-v1-330M and Qwen2-7B-Instruct, or other parts in their places.

    Args:
        audio: Hub id or folder of the encoder.
        text: Hub id or folder of the language model.
        text_revision: commit of the language model; Qwen2-7B-Instruct is pinned by default.
        kwargs: as ``assembly.from_parts`` takes them.

    Returns:
        Model and processor, 75 audio tokens for a clip of 10 s.
    """
    if text == QWEN2_7B:
        text_revision = text_revision or QWEN2_7B_REVISION
    return from_parts(audio, text, text_revision=text_revision, **kwargs)


PRESETS = {"nano": build_nano, "7b": build_7b}
