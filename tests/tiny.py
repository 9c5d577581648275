"""Tiny songs and models; as fixtures in `conftest.py`, here for processes of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from mixing_buddy.stems import STEMS

#: Strides of nano's encoder.
NANO_STRIDES = {
    "conv_dim": [8, 8, 16],
    "conv_kernel": [40, 16, 12],
    "conv_stride": [20, 8, 6],
}


def write_song(
    folder: Path,
    *,
    duration_s: float = 20.0,
    sample_rate: int = 24_000,
    num_channels: int = 1,
    silent: tuple[str, ...] = (),
    suffix: str = ".wav",
    seed: int = 0,
) -> Path:
    """Write four stems of noise at about -25 dBFS RMS each, those in `silent` as zeros."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for stem in STEMS:
        shape = (round(duration_s * sample_rate), num_channels)
        samples = rng.normal(0.0, 0.0 if stem in silent else 0.056, shape).clip(-1.0, 1.0)
        soundfile.write(folder / f"{stem}{suffix}", samples, sample_rate, subtype="PCM_16")
    return folder


def tiny_buddy(**audio_config):
    """A tiny random model in evaluation mode, and its processor."""
    import torch

    from mixing_buddy.presets import build_nano

    torch.manual_seed(0)
    small = {
        "model_type": "hubert",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 4,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
    }
    model, processor = build_nano(
        audio_config={**small, **audio_config},
        num_level_bands=16,
        level_encoder_channels=[4, 6],
        level_encoder_strides=[1, 5],
        meter_channels=8,
        num_context_layers=1,
        num_context_heads=4,
        context_mlp_size=32,
        context_dropout=0.0,
        pooling_factor=10,
        projector_hidden_sizes=[32],
        projector_dropouts=[0.0],
        level_loss_weight=0.05,
    )
    return model.eval(), processor
