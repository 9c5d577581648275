"""From clips and questions to model input, each clip decoded and encoded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mixing_buddy.conversations import to_template
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.songs import SAMPLE_RATE


@dataclass(frozen=True)
class EncodedClips:
    """Clips as the model takes them once its encoder has heard them.

    Args:
        tensors: `encoder_states` of shape `(num_clips, num_states, num_frames, hidden_size)`; level
            features and a mask of samples where the model needs them.
        num_tokens: for each clip how many tokens it fills.
    """

    tensors: Mapping[str, torch.Tensor]
    num_tokens: tuple[int, ...]


@torch.no_grad()
def encode_clips(model, processor, clips: Sequence[np.ndarray]) -> EncodedClips:
    """Encode clips, each of which is a sample of its own.

    Args:
        model: a ``MixingBuddyForConditionalGeneration``.
        processor: its processor.
        clips: mono at 24 kHz, each of shape `(num_samples,)`.
    """
    extractor = processor.feature_extractor
    scaled = [extractor.common_reference([extractor.as_mono(clip)])[0] for clip in clips]
    features = extractor(scaled, sampling_rate=SAMPLE_RATE, return_tensors="pt").to(model.device)
    values, mask = features["input_values"], features["input_values_mask"]
    lengths = mask.sum(-1).tolist()
    states = model.model.encode(values, lengths)
    tensors = {"encoder_states": torch.stack(states, dim=1)}
    if "input_features" in features:
        tensors["input_features"] = features["input_features"]
    if min(lengths) < values.shape[1]:
        tensors["input_values_mask"] = mask
    return EncodedClips(tensors, tuple(map(processor.num_audio_tokens, lengths)))


def make_inputs(
    processor, clips: EncodedClips, places: Sequence[int], questions: Sequence[str]
) -> dict[str, Any]:
    """Make model input that ends where the answers start.

    Args:
        processor: the model's processor.
        clips: what is heard.
        places: for each question which of the clips it is about.
        questions: the questions, as many as places.

    Raises:
        MixingBuddyError: a question holds the mark that stands for a clip.
    """
    mark, tokenizer = processor.audio_token, processor.tokenizer
    if any(mark in question for question in questions):
        raise MixingBuddyError(f"The question holds {mark}, which stands for audio: leave it out.")
    prompts = processor.apply_chat_template(
        [to_template(1, question) for question in questions],
        tokenize=False,
        add_generation_prompt=True,
    )
    bos = tokenizer.bos_token
    text = tokenizer(
        [
            prompt.replace(mark, mark * clips.num_tokens[place])
            for prompt, place in zip(prompts, places, strict=True)
        ],
        # As the processor does: a template that writes the first token needs no second one.
        add_special_tokens=bos is None or not prompts[0].startswith(bos),
        padding=True,
        padding_side="left",
        return_tensors="pt",
    )
    device = clips.tensors["encoder_states"].device
    index = torch.tensor(places, device=device)
    return {**text.to(device), **clips.tensors, "clip_index": index}
