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
def encode_clips(model, processor, samples: Sequence[Sequence[np.ndarray]]) -> EncodedClips:
    """Encode the clips of samples, one after another.

    Args:
        model: a ``MixingBuddyForConditionalGeneration``.
        processor: its processor.
        samples: for each sample its clips, which keep their level against one another; mono at
            24 kHz, of shape `(num_samples,)`.
    """
    extractor = processor.feature_extractor
    scaled = [
        clip
        for clips in samples
        for clip in extractor.common_reference(list(map(extractor.as_mono, clips)))
    ]
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
    processor, clips: EncodedClips, places: Sequence[Sequence[int]], questions: Sequence[str]
) -> dict[str, Any]:
    """Make model input that ends where the answers start.

    Args:
        processor: the model's processor.
        clips: what is heard.
        places: for each question which of the clips it is about, in the order they are heard.
        questions: the questions, as many as places.

    Raises:
        MixingBuddyError: a question holds the mark that stands for a clip.
    """
    mark, tokenizer = processor.audio_token, processor.tokenizer
    if any(mark in question for question in questions):
        raise MixingBuddyError(f"The question holds {mark}, which stands for audio: leave it out.")
    prompts = processor.apply_chat_template(
        [
            to_template(len(heard), question)
            for heard, question in zip(places, questions, strict=True)
        ],
        tokenize=False,
        add_generation_prompt=True,
    )
    bos = tokenizer.bos_token
    text = tokenizer(
        [
            _fill(prompt, mark, [clips.num_tokens[place] for place in heard])
            for prompt, heard in zip(prompts, places, strict=True)
        ],
        # As the processor does: a template that writes the first token needs no second one.
        add_special_tokens=bos is None or not prompts[0].startswith(bos),
        padding=True,
        padding_side="left",
        return_tensors="pt",
    )
    device = clips.tensors["encoder_states"].device
    index = torch.tensor([place for heard in places for place in heard], device=device)
    return {**text.to(device), **clips.tensors, "clip_index": index}


def _fill(prompt: str, mark: str, num_tokens: Sequence[int]) -> str:
    """Widen each mark that stands for a clip to as many as the clip has tokens."""
    before, *after = prompt.split(mark)
    return before + "".join(
        mark * count + text for count, text in zip(num_tokens, after, strict=True)
    )
