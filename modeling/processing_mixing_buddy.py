"""Processor of Mixing Buddy: text with audio placeholders, and the clips that fill them."""

from __future__ import annotations

from transformers import BatchFeature, ProcessorMixin

from .configuration_mixing_buddy import num_audio_tokens


class MixingBuddyProcessor(ProcessorMixin):
    r"""Joins [`MixingBuddyFeatureExtractor`] and a tokenizer.

    Each audio token in the text stands for one clip and is expanded to as many tokens as the clip
    fills. All clips named in one text belong to one sample and share one level reference.

    Args:
        feature_extractor (`MixingBuddyFeatureExtractor`): makes encoder input of clips.
        tokenizer (`PreTrainedTokenizerBase`): has `audio_token` as one token.
        chat_template (`str`, *optional*): template with `{"type": "audio"}` parts.
        audio_token (`str`, defaults to `"<|audio|>"`): placeholder of a clip.
        pooling_factor (`int`, defaults to 10): encoder frames joined into one token.
    """

    text_kwargs = {"padding": True, "return_tensors": "pt"}  # noqa: RUF012
    audio_kwargs = {"sampling_rate": 24_000, "return_tensors": "pt"}  # noqa: RUF012

    def __init__(
        self,
        feature_extractor,
        tokenizer,
        chat_template=None,
        audio_token="<|audio|>",
        pooling_factor=10,
    ):
        self.audio_token = audio_token
        self.audio_token_id = tokenizer.convert_tokens_to_ids(audio_token)
        self.pooling_factor = pooling_factor
        super().__init__(feature_extractor, tokenizer, chat_template=chat_template)

    def num_audio_tokens(self, num_samples: int) -> int:
        """Count the tokens that a clip of `num_samples` samples is expanded to."""
        return num_audio_tokens(
            num_samples,
            conv_kernel=self.feature_extractor.conv_kernel,
            conv_stride=self.feature_extractor.conv_stride,
            pooling_factor=self.pooling_factor,
        )

    def prepare_inputs_layout(self, images=None, text=None, videos=None, audio=None, **kwargs):
        """Bring clips to mono and divide those of one text by their common level.

        Without text every clip is a sample of its own.
        """
        if audio is not None:
            clips = audio if isinstance(audio, list | tuple) else [audio]
            if clips and isinstance(clips[0], list | tuple) and not isinstance(clips[0][0], float):
                clips = [clip for sample in clips for clip in sample]
            audio = [
                clip if isinstance(clip, str) else self.feature_extractor.as_mono(clip)
                for clip in clips
            ]
        images, text, videos, audio = super().prepare_inputs_layout(
            images=images, text=text, videos=videos, audio=audio, **kwargs
        )
        if audio is not None:
            counts = (
                [sample.count(self.audio_token) for sample in text] if text else [1] * len(audio)
            )
            scaled, start = [], 0
            for count in counts:
                scaled += self.feature_extractor.common_reference(audio[start : start + count])
                start += count
            # A mismatch of placeholders and clips is named by `validate_inputs`, which comes next.
            audio = scaled + list(audio[start:])
        return images, text, videos, audio

    def replace_audio_token(self, audio_inputs: BatchFeature, audio_idx: int, **kwargs) -> str:
        """Return the placeholders of one clip."""
        num_samples = int(audio_inputs["input_values_mask"][audio_idx].sum())
        return self.audio_token * self.num_audio_tokens(num_samples)

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that the model takes."""
        return list(
            dict.fromkeys(
                self.tokenizer.model_input_names + self.feature_extractor.model_input_names
            )
        )


__all__ = ["MixingBuddyProcessor"]
