"""The two sizes: ``nano``, built from scratch, and ``7b``, assembled from pretrained parts."""

from __future__ import annotations

from itertools import product
from typing import Any

from mixing_buddy.assembly import build_processor, from_parts
from mixing_buddy.tokenization import AUDIO_TOKEN, train_tokenizer

#: The published system's parts.
MERT_330M = "m-a-p/MERT-v1-330M"
QWEN2_7B = "Qwen/Qwen2-7B-Instruct"


def template_texts() -> list[str]:
    """Return every instruction and answer that the templates can make, in a fixed order."""
    from mixing_buddy import prompts
    from mixing_buddy.flaws import Category
    from mixing_buddy.stems import ADVISED_STEMS, STEMS

    texts = [prompts.SYSTEM_MESSAGE]
    for index, anchor in product(range(prompts.NUM_INSTRUCTIONS), ADVISED_STEMS):
        for duration_s in (10.0, 5.8):
            texts.append(
                prompts.instruction(index, duration_s=duration_s, stems=STEMS, anchor=anchor)
            )
    choices = product(range(prompts.NUM_RESPONSES), Category, ADVISED_STEMS, ADVISED_STEMS)
    for index, category, target, anchor in choices:
        if target != anchor:
            texts.append(prompts.response(index, category, target=target, anchor=anchor))
    return texts


def build_nano(**overrides: Any):
    """Build an untrained nano: HuBERT-structured encoder, projector and Qwen2, all small.

    The encoder is coarse (25 frames a second, few channels), since on two CPU cores a waveform
    encoder of MERT's strides would take nearly all the time; the level features carry most of
    what nano hears.

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
            "conv_dim": [16, 32, 64],
            "conv_kernel": [40, 16, 12],
            "conv_stride": [20, 8, 6],
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 128,
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
        "pooling_factor": 10,
        "projector_hidden_sizes": [768, 512, 512, 384],
        "projector_dropouts": [0.1, 0.05, 0.0, 0.0],
        "level_loss_weight": 1.0,
    }
    config = MixingBuddyConfig(**{**fields, **overrides})
    model = MixingBuddyForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=96, eos_token_id=eos, pad_token_id=pad
    )
    return model, build_processor(config, tokenizer)


def build_7b(**kwargs: Any):
    """Assemble MERT-v1-330M and Qwen2-7B-Instruct; arguments as in ``assembly.from_parts``.

    Returns:
        Model and processor, 75 audio tokens for a clip of 10 s.
    """
    return from_parts(MERT_330M, QWEN2_7B, **kwargs)


PRESETS = {"nano": build_nano, "7b": build_7b}
