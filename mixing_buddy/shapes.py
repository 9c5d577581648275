"""Shapes of the published parts, for looking at sizes where their weights are not at hand."""

from __future__ import annotations

from typing import Any

#: MERT-v1-330M: HuBERT's large structure at 24 kHz, 75 frames a second.
MERT_330M_SHAPE = {
    "model_type": "hubert",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_bias": False,
    "feat_extract_norm": "group",
    "feat_proj_layer_norm": True,
    "do_stable_layer_norm": True,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
}

#: Qwen2-7B-Instruct.
QWEN2_7B_SHAPE = {
    "model_type": "qwen2",
    "vocab_size": 152_064,
    "hidden_size": 3584,
    "intermediate_size": 18_944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32_768,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
    "tie_word_embeddings": False,
    "bos_token_id": 151_643,
    "eos_token_id": 151_645,
    "pad_token_id": 151_643,
}


def config_7b(**fields: Any):
    """Return the configuration of MERT-v1-330M and Qwen2-7B-Instruct joined.

    Args:
        fields: further fields of ``MixingBuddyConfig``.
    """
    from mixing_buddy.modeling import MixingBuddyConfig

    parts = {"audio_config": MERT_330M_SHAPE, "text_config": QWEN2_7B_SHAPE}
    return MixingBuddyConfig(**{**parts, **fields})
