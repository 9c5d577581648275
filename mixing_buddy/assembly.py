"""Puts a model together from a MERT encoder and a causal language model, by Hub id or folder.

The work is done by ``MixingBuddyForConditionalGeneration.from_parts``, which travels with the
model; here are its processor and the package's own kind of error.
"""

from __future__ import annotations

from typing import Any

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.tokenization import AUDIO_TOKEN


class AssemblyError(MixingBuddyError):
    """A part of the model can't be used; the message says which and what to do."""


def from_parts(audio: str, text: str, **kwargs: Any):
    """Join a pretrained encoder and language model; projector, layer mix and level head are new.

    Args:
        audio: Hub id or folder of a MERT or HuBERT encoder.
        text: Hub id or folder of a causal language model with its tokenizer.
        kwargs: as ``MixingBuddyForConditionalGeneration.from_parts`` takes them: ``quantization``,
            ``audio_revision``, ``text_revision``, ``dtype``, ``device_map``, and fields of
            ``MixingBuddyConfig``.

    Returns:
        Model and processor.

    Raises:
        AssemblyError: if a part can't be loaded.
    """
    from pathlib import Path

    from mixing_buddy.modeling import MixingBuddyForConditionalGeneration
    from mixing_buddy.modeling.assembly_mixing_buddy import PartsError, load_tokenizer

    try:
        model = MixingBuddyForConditionalGeneration.from_parts(
            audio, text, audio_token=AUDIO_TOKEN, **kwargs
        )
    except (PartsError, OSError) as error:
        raise AssemblyError(str(error)) from error
    revision = None if Path(text).is_dir() else model.config.text_revision
    tokenizer = load_tokenizer(str(text), revision=revision, audio_token=AUDIO_TOKEN)
    return model, build_processor(model.config, tokenizer)


def build_processor(config, tokenizer):
    """Build the processor that goes with a model configuration.

    Args:
        config: a ``MixingBuddyConfig``.
        tokenizer: the language model's tokenizer, with the audio token.
    """
    from importlib.resources import files

    from mixing_buddy.modeling import MixingBuddyFeatureExtractor, MixingBuddyProcessor

    feature_extractor = MixingBuddyFeatureExtractor(
        conv_kernel=config.audio_config.conv_kernel,
        conv_stride=config.audio_config.conv_stride,
        num_level_bands=config.num_level_bands,
        fft_size=config.level_fft_size,
    )
    return MixingBuddyProcessor(
        feature_extractor,
        tokenizer,
        chat_template=files("mixing_buddy").joinpath("chat_template.jinja").read_text("utf-8"),
        audio_token=AUDIO_TOKEN,
        pooling_factor=config.pooling_factor,
    )
