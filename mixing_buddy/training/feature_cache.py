"""States of a frozen encoder, computed once and kept on disk.

The layer mix is learnt, so all states of a clip are kept: 38 MB for 10 s of MERT-v1-330M in half
precision. That pays where few clips are heard often (small datasets, many epochs, preference
pairs); a clip that is heard once is cheaper to encode than to read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.utils.data import ConcatDataset, DataLoader, Subset
from tqdm import tqdm

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.files import remove_leftovers, replacing
from mixing_buddy.modeling.configuration_mixing_buddy import (
    num_audio_frames,
    receptive_field,
)

#: Raised whenever the same clip and weights would give other states than before.
_CACHE_VERSION = "1"

#: Seconds of audio that are encoded together when the cache is filled.
_SECONDS_AT_ONCE = 80.0


class FeatureCacheError(MixingBuddyError):
    """The states of the encoder can't be cached, or are not in the cache."""


def clip_key(clip: np.ndarray) -> str:
    """Name a clip by its samples.

    Args:
        clip: float32 of shape `(num_samples,)`, as the encoder gets it.

    Returns:
        32 hexadecimal digits.
    """
    return hashlib.blake2b(np.ascontiguousarray(clip), digest_size=16).hexdigest()


class FeatureCache:
    """Encoder states on disk, one memory-mapped file a clip.

    Files lie in a folder that is named by the encoder (its weights, configuration, precision and
    kind of attention), each named by the clip's samples. They appear whole, by renaming, so several
    processes may fill one folder and one that was stopped goes on where it was.

    Args:
        folder: where encoders' folders lie.
        encoder: the audio encoder, frozen.
    """

    def __init__(self, folder: str | os.PathLike[str], encoder: torch.nn.Module):
        self.folder = Path(folder).expanduser() / encoder_key(encoder)
        config = encoder.config
        self.conv = (tuple(config.conv_kernel), tuple(config.conv_stride))
        self.bytes_per_frame = (
            (config.num_hidden_layers + 1) * config.hidden_size * encoder.dtype.itemsize
        )

    def path(self, key: str) -> Path:
        """Return the file of a clip."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def __contains__(self, key: str) -> bool:
        return self.path(key).is_file()

    def num_bytes(self, num_samples: int) -> int:
        """Return the size of the states of a clip."""
        return num_audio_frames(num_samples, *self.conv) * self.bytes_per_frame

    def store(self, key: str, states: torch.Tensor) -> None:
        """Write the states of a clip, of shape `(num_states, num_frames, hidden_size)`."""
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            save_file({"states": states.detach().cpu().contiguous()}, temporary)

    def load(self, key: str) -> torch.Tensor:
        """Map the states of a clip into memory.

        Returns:
            Shape `(num_states, num_frames, hidden_size)`, in the encoder's precision.

        Raises:
            FeatureCacheError: they are not there, or damaged.
        """
        path = self.path(key)
        try:
            with safe_open(path, framework="pt") as file:
                return file.get_tensor("states")
        except FileNotFoundError as error:
            raise FeatureCacheError(
                f"{self.folder} has no states of a clip that is to be learnt from: clips must be "
                "the same, sample by sample, as when the cache was filled, so nothing random may "
                "be done to them."
            ) from error
        except SafetensorError as error:
            raise FeatureCacheError(f"{path} is damaged ({error}): delete it.") from error

    def remove_leftovers(self) -> None:
        """Remove what processes of this machine that were killed had not finished."""
        remove_leftovers(self.folder.glob("*/.*.part"))


class CachedCollator:
    """Puts cached encoder states in the place of clips, in the batches of another collator.

    Args:
        collator: makes batches with `input_values`.
        cache: holds the states of every clip.
    """

    def __init__(
        self, collator: Callable[[Sequence[Mapping]], dict[str, Any]], cache: FeatureCache
    ):
        self.collator = collator
        self.cache = cache

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Collate rows.

        Returns:
            The collator's batch with `encoder_states` of shape `(num_distinct_clips, num_states,
            num_frames, hidden_size)`, zero-padded to the longest clip, for `input_values`.

        Raises:
            FeatureCacheError: a clip is not in the cache.
        """
        batch = self.collator(rows)
        values = batch.pop("input_values")
        mask = batch.get("input_values_mask")
        lengths = [values.shape[1]] * len(values) if mask is None else mask.sum(-1).tolist()
        states = [
            self.cache.load(clip_key(clip[:length].numpy()))
            for clip, length in zip(values, lengths, strict=True)
        ]
        num_frames = max(of_clip.shape[1] for of_clip in states)
        padded = states[0].new_zeros((len(states), len(states[0]), num_frames, states[0].shape[2]))
        for row, of_clip in enumerate(states):
            padded[row, :, : of_clip.shape[1]] = of_clip
        return {**batch, "encoder_states": padded}


def encoder_key(encoder: torch.nn.Module) -> str:
    """Identify an encoder by all that its states depend on.

    Returns:
        32 hexadecimal digits, from its weights, precision, configuration and kind of attention.
    """
    config = {
        name: value
        for name, value in encoder.config.to_dict().items()
        if name not in ("_name_or_path", "transformers_version", "architectures", "dtype")
    }
    attention = encoder.config._attn_implementation
    facts = [_CACHE_VERSION, str(encoder.dtype), attention, config]
    digest = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16)
    for name, weight in sorted(encoder.state_dict().items()):
        digest.update(f"{name}\0{weight.dtype}\0{tuple(weight.shape)}\0".encode())
        digest.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def encode_once(model: torch.nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Put encoder states in the place of a batch's clips, if the encoder is frozen.

    For a batch that goes through a model more than once, as DPO's do: for policy and reference.

    Args:
        model: the model, with an adapter around it or without, not sharded.
        batch: model input.
    """
    core = core_of(model)
    if batch.get("input_values") is None or _is_trained(core.audio_tower):
        return dict(batch)
    values, mask = batch["input_values"], batch.get("input_values_mask")
    states = core.encode(values, None if mask is None else mask.sum(-1).tolist())
    rest = {name: value for name, value in batch.items() if name != "input_values"}
    return {**rest, "encoder_states": torch.stack(states, dim=1)}


def core_of(model: torch.nn.Module) -> torch.nn.Module:
    """Return the ``MixingBuddyModel`` inside a model, an adapter or what else is around it."""
    return next(part for part in model.modules() if hasattr(part, "audio_tower"))


def use_feature_cache(trainer, folder: str | os.PathLike[str], *, augmented: bool = False) -> None:
    """Let a trainer learn from cached encoder states, computing those that are missing.

    Every process fills in the clips of its share of the rows; all wait for one another.

    Args:
        trainer: an SFT or DPO trainer, built, whose collator makes `input_values`.
        folder: where the states are kept.
        augmented: whether clips are changed at random as they are read.

    Raises:
        FeatureCacheError: if the encoder is trained, clips change from epoch to epoch or are
            streamed, or the disk is too small.
    """
    core = core_of(trainer.model)
    if _is_trained(core.audio_tower):
        raise FeatureCacheError(
            "--feature_cache needs a frozen encoder: one that is trained makes other states at "
            "every step. Add --freeze_audio_tower true, or leave the cache out."
        )
    if augmented:
        raise FeatureCacheError(
            "--feature_cache needs clips that stay as they are: augmentation changes each clip "
            "anew whenever it is read. Switch one of them off."
        )
    evaluated = trainer.eval_dataset
    of_eval = evaluated.values() if isinstance(evaluated, dict) else [evaluated]
    splits = [split for split in (trainer.train_dataset, *of_eval) if split is not None]
    if not all(hasattr(split, "__len__") for split in splits):
        raise FeatureCacheError(
            "--feature_cache needs rows that can be counted before training: not a stream."
        )
    cache = FeatureCache(folder, core.audio_tower)
    rows = ConcatDataset(splits)
    fill(cache, core, trainer.processing_class, rows, trainer.accelerator, trainer.args)
    trainer.data_collator = CachedCollator(trainer.data_collator, cache)


def fill(cache: FeatureCache, core, processor, rows, accelerator, args) -> None:
    """Compute the states of all clips that the cache lacks.

    Args:
        cache: where they go.
        core: the ``MixingBuddyModel`` whose encoder makes them.
        processor: the model's processor.
        rows: a dataset whose rows have `clips`.
        accelerator: says which share of the rows is this process's.
        args: training arguments: number of DataLoader workers, and whether to show progress.

    Raises:
        FeatureCacheError: if the disk is too small.
    """
    cache.folder.mkdir(parents=True, exist_ok=True)
    cache.remove_leftovers()
    quiet = args.disable_tqdm or not accelerator.is_main_process
    lister = ClipLister(processor.feature_extractor)

    def listed(numbers: Sequence[int]) -> DataLoader:
        return DataLoader(
            Subset(rows, numbers),
            batch_size=1,
            collate_fn=lister,
            num_workers=args.dataloader_num_workers,
        )

    # Reading all rows costs little beside encoding them, and tells the size before any is encoded.
    num_bytes: dict[str, int] = {}
    missing: dict[int, set[str]] = defaultdict(set)
    mine = range(accelerator.process_index, len(rows), accelerator.num_processes)
    bar = tqdm(listed(mine), desc="Listing clips", unit="row", disable=quiet)
    for number, clips in zip(mine, bar, strict=True):
        for key, clip in clips:
            if key not in num_bytes:
                num_bytes[key] = cache.num_bytes(clip.size)
                if key not in cache:
                    missing[number].add(key)
    of_all = dict(gather_object(list(num_bytes.items())))
    needed = [size for key, size in of_all.items() if key not in cache]
    accelerator.wait_for_everyone()
    free = shutil.disk_usage(cache.folder).free
    accelerator.print(
        f"Encoder states of {len(of_all)} distinct clips take {sum(of_all.values()) / 1e9:.2f} GB; "
        f"{len(needed)} are missing: {sum(needed) / 1e9:.2f} GB, of {free / 1e9:.2f} GB free in "
        f"{cache.folder}."
    )
    if sum(needed) > free:
        raise FeatureCacheError(
            f"{cache.folder} has {free / 1e9:.1f} GB free, the encoder states need "
            f"{sum(needed) / 1e9:.1f} GB: choose another disk or fewer rows, or train without "
            "--feature_cache."
        )
    clips = (
        (key, clip)
        for keys, of_row in zip(missing.values(), listed(list(missing)), strict=True)
        for key, clip in of_row
        if key in keys
    )
    total = sum(map(len, missing.values()))
    with tqdm(total=total, desc="Encoding clips", unit="clip", disable=quiet) as bar:
        for batch in _equal_lengths(clips, lister.feature_extractor.sampling_rate):
            values = torch.from_numpy(np.stack(list(batch.values())))
            with torch.inference_mode():
                states = torch.stack(core.encode(values.to(core.audio_tower.device)), dim=1)
            for key, of_clip in zip(batch, states, strict=True):
                cache.store(key, of_clip)
            bar.update(len(batch))
    accelerator.wait_for_everyone()


class ClipLister:
    """Scales the clips of a row as the processor does, and names them."""

    def __init__(self, feature_extractor):
        self.feature_extractor = feature_extractor

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, np.ndarray]]:
        """Return the keys and scaled clips, of shape `(num_samples,)`, of a batch of one row."""
        (row,) = rows
        extractor = self.feature_extractor
        clips = extractor.common_reference([extractor.as_mono(clip) for clip in row["clips"]])
        minimum = receptive_field(extractor.conv_kernel, extractor.conv_stride)
        clips = [np.pad(clip, (0, max(minimum - clip.size, 0))) for clip in clips]
        return [(clip_key(clip), clip) for clip in clips]


def _is_trained(encoder: torch.nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in encoder.parameters())


def _equal_lengths(
    clips: Iterable[tuple[str, np.ndarray]], sampling_rate: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield batches of clips of equal length by their keys."""
    waiting: dict[int, dict[str, np.ndarray]] = defaultdict(dict)
    for key, clip in clips:
        batch = waiting[clip.size]
        batch[key] = clip
        if (len(batch) + 1) * clip.size > _SECONDS_AT_ONCE * sampling_rate:
            yield waiting.pop(clip.size)
    yield from waiting.values()
