"""Training rows read as a stream: each process and each of its workers reads its own part."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import count
from typing import Any

from datasets import Dataset, IterableDataset, concatenate_datasets
from datasets.distributed import split_dataset_by_node
from transformers import TrainingArguments

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.rendering import RenderTransform
from mixing_buddy.rows import open_rows
from mixing_buddy.training.arguments import AugmentationArguments, DataArguments
from mixing_buddy.training.augmentation import AugmentingTransform
from mixing_buddy.training.rows import config_shares, find_places, load_rows, row_transform

#: Rows read and rendered at a time.
_BATCH = 8


@dataclass(frozen=True)
class RowStream:
    """Rows of several datasets, in another order at each pass, in parts that are disjoint.

    Args:
        places: folder or Hub id, config and split of each dataset.
        num_parts: how many parts there are.
        buffer_size: how many rows are shuffled at a time, beside the order of files.
        seed: seed of the order.
    """

    places: tuple[tuple[str, str, str], ...]
    num_parts: int
    buffer_size: int
    seed: int

    def one_pass(self, part: int, pass_index: int) -> IterableDataset:
        """Return the rows of one part in the order of one pass: every `num_parts`-th row of it.

        So every part reads all rows, which is cheap, since rows are text, and all rows come
        equally often. Whole files could be shared out instead, but they are of unequal length, and
        the rows of a short one would come more often than others.
        """
        rows = concatenate_datasets([open_rows(*place, streaming=True) for place in self.places])
        # A seed of its own for each pass, the same for every part, or the parts would overlap.
        shuffled = rows.shuffle(seed=self.seed + pass_index, buffer_size=self.buffer_size)
        return split_dataset_by_node(
            shuffled, rank=part, world_size=self.num_parts, strategy="examples"
        )

    def read(self, parts: list[int], transform: RenderTransform) -> Iterator[dict[str, Any]]:
        """Yield the rendered rows of parts pass after pass, without end.

        The end of a pass is not shown: parts differ by a row in length, and processes that train
        together must take the same number of steps.
        """
        # Workers reach the next pass at different times, so each needs its own number of it.
        transform = deepcopy(transform)
        for pass_index in count():
            if isinstance(transform, AugmentingTransform):
                transform.epoch = pass_index
            for part in parts:
                # Not `for row in ...`, which in a data-loading worker would read only the files
                # that `datasets` takes to be this worker's: the parts are split already.
                for batch in self.one_pass(part, pass_index).iter(batch_size=_BATCH):
                    rendered = transform(batch)
                    for values in zip(*rendered.values(), strict=True):
                        yield dict(zip(rendered, values, strict=True))

    def rendered(self, transform: RenderTransform) -> IterableDataset:
        """Return an endless dataset of ``num_parts`` shards, one a part.

        Processes and workers each take shards of their own, as `datasets` and accelerate share
        them out; so ``num_parts`` must be the number of processes times that of their workers.

        Args:
            transform: renders rows.
        """
        # A list among the arguments is what `datasets` shares out as shards.
        arguments = {"parts": list(range(self.num_parts)), "transform": transform}
        return IterableDataset.from_generator(self.read, gen_kwargs=arguments)


def training_rows(
    args: DataArguments, training_args: TrainingArguments, augmentation: AugmentationArguments
) -> Dataset | IterableDataset:
    """Open the training split, streamed or not, as the arguments say.

    Raises:
        MixingBuddyError: see `stream_training_rows` and `rows.load_rows`.
    """
    if args.streaming:
        return stream_training_rows(args, training_args, augmentation)
    return load_rows(args, args.train_split, augmentation=augmentation, seed=training_args.seed)


def stream_training_rows(
    args: DataArguments, training_args: TrainingArguments, augmentation: AugmentationArguments
) -> IterableDataset:
    """Stream the training split, rendered, to all processes and their workers.

    Args:
        args: where rows and songs are.
        training_args: says how many processes and workers there are.
        augmentation: how to change samples from pass to pass.

    Returns:
        An endless dataset whose rows gain ``clips``, arrays of shape `(num_samples,)`.

    Raises:
        MixingBuddyError: the run has no number of steps, stems are to be swapped, or there are no
            such rows.
    """
    if training_args.max_steps <= 0:
        raise MixingBuddyError(
            "--streaming: nobody knows how many rows an epoch has. Set --max_steps."
        )
    config_shares(args)
    if augmentation.swap_stems_probability or augmentation.redraw_balance_db:
        raise MixingBuddyError(
            "--streaming: swap_stems_probability and redraw_balance_db need a list of all chunks, "
            "which a stream does not have. Leave them at 0, or leave out --streaming."
        )
    stream = RowStream(
        places=tuple(find_places(args, args.train_split)),
        num_parts=training_args.world_size * max(1, training_args.dataloader_num_workers),
        buffer_size=args.shuffle_buffer,
        seed=training_args.seed,
    )
    return stream.rendered(row_transform(args, augmentation, seed=training_args.seed))
