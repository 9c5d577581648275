"""Feature extractor of Mixing Buddy: waveforms and level features with one common reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy.fft
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.audio_utils import mel_filter_bank

from .configuration_mixing_buddy import (
    FEATURE_CENTRE_DB,
    FEATURE_FLOOR_DB,
    FEATURE_SCALE_DB,
    num_audio_frames,
    receptive_field,
)


@lru_cache(maxsize=4)
def _mel_filters(num_bands: int, fft_size: int, sampling_rate: int) -> np.ndarray:
    """Return triangular mel filters of shape `(num_bins, num_bands)`."""
    return mel_filter_bank(
        num_frequency_bins=fft_size // 2 + 1,
        num_mel_filters=num_bands,
        min_frequency=20.0,
        max_frequency=sampling_rate / 2,
        sampling_rate=sampling_rate,
        norm=None,
        mel_scale="htk",
    ).astype(np.float32)


class MixingBuddyFeatureExtractor(SequenceFeatureExtractor):
    r"""Turns clips into encoder input and level features.

    MERT's first convolution is followed by a norm over time and so forgets level. The level
    features carry what it drops: per encoder frame, the energy in mel bands in dB. Every clip of
    one sample is divided by the same reference (see [`common_reference`]), never by its own level,
    so that differences of gain between the clips of a sample survive.

    Args:
        sampling_rate (`int`, defaults to 24000): sample rate that clips must have, in Hz.
        conv_kernel (`list[int]`): kernel sizes of the encoder's convolutions (MERT's by default).
        conv_stride (`list[int]`): strides of the encoder's convolutions (MERT's by default).
        num_level_bands (`int`, defaults to 64): mel bands of the level features; 0 for none.
        fft_size (`int`, defaults to 2048): window of the level features, in samples.
    """

    model_input_names = ["input_values", "input_values_mask", "input_features"]  # noqa: RUF012

    def __init__(
        self,
        sampling_rate: int = 24_000,
        conv_kernel: Sequence[int] = (10, 3, 3, 3, 3, 2, 2),
        conv_stride: Sequence[int] = (5, 2, 2, 2, 2, 2, 2),
        num_level_bands: int = 64,
        fft_size: int = 2048,
        **kwargs,
    ):
        kwargs = {"feature_size": 1, "padding_value": 0.0, **kwargs}
        super().__init__(sampling_rate=sampling_rate, **kwargs)
        self.conv_kernel = list(conv_kernel)
        self.conv_stride = list(conv_stride)
        self.num_level_bands = num_level_bands
        self.fft_size = fft_size

    @staticmethod
    def common_reference(clips: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Divide all clips of one sample by their common RMS level.

        Args:
            clips: mono clips of shape `(num_samples,)`, float32.

        Returns:
            The clips, scaled alike so that their mean power is 1 (silence stays silence).
        """
        energy = sum(float(np.dot(clip, clip)) for clip in clips)
        rms = math.sqrt(energy / max(sum(clip.size for clip in clips), 1))
        if rms < 1e-6:
            return list(clips)
        return [clip * np.float32(1.0 / rms) for clip in clips]

    @staticmethod
    def as_mono(clip) -> np.ndarray:
        """Return a clip as a float32 array of shape `(num_samples,)`.

        Args:
            clip: array, tensor or list of shape `(num_samples,)`, or `(num_channels, num_samples)`
                with fewer channels than samples, whose channels are averaged.

        Raises:
            ValueError: if the clip is empty, has more than two axes, or holds NaN or infinity.
        """
        clip = np.asarray(clip, dtype=np.float32)
        if clip.ndim == 2 and clip.shape[0] < clip.shape[1]:
            clip = clip.mean(axis=0)
        if clip.ndim != 1 or clip.size == 0:
            raise ValueError(
                f"A clip has shape {clip.shape}: give (num_samples,) or (num_channels, num_samples)"
                " with at least one sample."
            )
        if not np.isfinite(clip).all():
            raise ValueError("A clip holds NaN or infinite samples: repair or drop it.")
        return clip

    def band_filters(self) -> np.ndarray:
        """Return what each mel band takes of each frequency, of shape `(num_bins, num_bands)`."""
        return _mel_filters(self.num_level_bands, self.fft_size, self.sampling_rate)

    def level_features(self, clip: np.ndarray) -> np.ndarray:
        """Return level features of shape `(num_frames, num_level_bands)` of one scaled clip.

        Frame `i` is centred on the samples that the encoder's frame `i` sees.
        """
        hop = math.prod(self.conv_stride)
        num_frames = num_audio_frames(clip.size, self.conv_kernel, self.conv_stride)
        offset = self.fft_size // 2 - receptive_field(self.conv_kernel, self.conv_stride) // 2
        end = (num_frames - 1) * hop - offset + self.fft_size
        padded = np.pad(clip, (max(offset, 0), max(end - clip.size, 0)))[max(-offset, 0) :]
        frames = np.lib.stride_tricks.sliding_window_view(padded, self.fft_size)[::hop][:num_frames]
        window = np.hanning(self.fft_size + 1)[:-1].astype(np.float32)
        spectrum = scipy.fft.rfft(frames * window, axis=-1)
        # Normalised so that the powers of all bins add up to the frame's mean square.
        power = (spectrum.real**2 + spectrum.imag**2) * np.float32(
            2.0 / (self.fft_size * np.sum(window**2))
        )
        floor = 10.0 ** (FEATURE_FLOOR_DB / 10.0)
        level_db = 10.0 * np.log10(np.maximum(power @ self.band_filters(), floor))
        return ((level_db - FEATURE_CENTRE_DB) / FEATURE_SCALE_DB).astype(np.float32)

    def __call__(
        self,
        raw_speech: np.ndarray | Sequence[np.ndarray],
        sampling_rate: int | None = None,
        return_tensors: str | None = None,
        **kwargs,
    ) -> BatchFeature:
        r"""Make encoder input of clips that already share their sample's reference.

        Args:
            raw_speech: clips of shape `(num_samples,)`, one or a list.
            sampling_rate: sample rate of the clips in Hz, checked where given.
            return_tensors: `"pt"`, `"np"` or None.
            kwargs: ignored; the processor passes options meant for other extractors.

        Returns:
            `input_values` of shape `(num_clips, num_samples)`, zero-padded to the longest;
            `input_values_mask` of the same shape, 1 on real samples; and, with level features on,
            `input_features` of shape `(num_clips, num_frames, num_level_bands)`.

        Raises:
            ValueError: on a wrong sample rate or a clip that is empty or not finite.
        """
        if sampling_rate is not None and sampling_rate != self.sampling_rate:
            raise ValueError(
                f"The clips are {sampling_rate} Hz, the model hears {self.sampling_rate} Hz: "
                "resample them first."
            )
        clips = raw_speech if isinstance(raw_speech, list | tuple) else [raw_speech]
        minimum = receptive_field(self.conv_kernel, self.conv_stride)
        clips = [self.as_mono(clip) for clip in clips]
        clips = [
            np.pad(clip, (0, minimum - clip.size)) if clip.size < minimum else clip
            for clip in clips
        ]
        longest = max(clip.size for clip in clips)
        values = np.zeros((len(clips), longest), dtype=np.float32)
        mask = np.zeros((len(clips), longest), dtype=np.int32)
        for row, clip in enumerate(clips):
            values[row, : clip.size] = clip
            mask[row, : clip.size] = 1
        data = {"input_values": values, "input_values_mask": mask}
        if self.num_level_bands:
            num_frames = num_audio_frames(longest, self.conv_kernel, self.conv_stride)
            levels = np.zeros((len(clips), num_frames, self.num_level_bands), dtype=np.float32)
            for row, clip in enumerate(clips):
                features = self.level_features(clip)
                levels[row, : len(features)] = features
            data["input_features"] = levels
        return BatchFeature(data, tensor_type=return_tensors)


__all__ = ["MixingBuddyFeatureExtractor"]
