"""What can be found wrong before a run starts, and what a run is, in a few lines."""

from __future__ import annotations

import math
import os
from collections import Counter
from importlib.util import find_spec

from datasets import Dataset, IterableDataset
from transformers import Trainer, TrainingArguments

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.rendering import RenderTransform
from mixing_buddy.songs import find_song
from mixing_buddy.training.arguments import DataArguments

#: Trackers that `--report_to` is tested with, and the extra that brings each.
_TRACKER_EXTRAS = {"tensorboard": "train", "trackio": "trackers", "wandb": "trackers"}


def check_splits(args: DataArguments) -> None:
    """Keep test songs out of training and of the choice of a checkpoint.

    Raises:
        MixingBuddyError: a split is "test", or both are the same.
    """
    for option in ("train_split", "eval_split"):
        if getattr(args, option) == "test":
            raise MixingBuddyError(
                f"{option} is test: a model that learnt from test songs, or whose checkpoint was "
                "chosen by them, has no honest score on them. Use validation songs."
            )
    if args.train_split == args.eval_split:
        raise MixingBuddyError(
            f"train_split and eval_split are both {args.train_split}: a model always does well on "
            "rows that it has learnt. Use validation songs."
        )


def check_trackers(args: TrainingArguments) -> None:
    """Make sure that what curves are sent to is installed, and can be reached.

    Raises:
        MixingBuddyError: it isn't.
    """
    for tracker in args.report_to:
        extra = _TRACKER_EXTRAS.get(tracker)
        if extra is not None and find_spec(tracker) is None:
            raise MixingBuddyError(
                f"--report_to {tracker}: {tracker} is not installed. Install it with pip install "
                f"'mixing-buddy[{extra}]', or choose tensorboard or none."
            )
        if tracker == "trackio" and args.trackio_space_id is None:
            # Without a Space, transformers would freeze the finished run into a new one on the Hub.
            args.trackio_static_space_id = False


def check_songs(rows: Dataset, transform: RenderTransform) -> None:
    """Make sure that every song of the rows is there, before a worker stumbles over one.

    Raises:
        MixingBuddyError: a source has no folder, or a song is missing or broken.
    """
    columns = ("source", "split", "song")
    for source, split, song in sorted(set(zip(*(rows[c][:] for c in columns), strict=True))):
        find_song(transform.source(source), split, song)


def check_launch(args: TrainingArguments) -> str | None:
    """Return a warning where `accelerate launch` was asked for more processes than it started.

    On a CPU it starts one, whatever ``--num_processes`` says, unless MPI starts the others.
    It leaves no trace of the number, but sets the address to meet at only where there are several.
    """
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ
    if launched and args.world_size == 1 and "WORLD_SIZE" not in os.environ:
        return (
            "WARNING: accelerate launch was asked for several processes and started one, as it "
            "does on a CPU. For several there: torchrun --nproc_per_node N train_sft.py ... "
            "--use_cpu"
        )
    return None


def describe_run(trainer: Trainer) -> str:
    """Say what is about to be trained, on what, for how long.

    Args:
        trainer: ready to train.

    Returns:
        A few lines of text.
    """
    args = trainer.args
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in trainer.model.parameters())
    per_step = args.world_size * args.train_batch_size * args.gradient_accumulation_steps
    if isinstance(trainer.train_dataset, IterableDataset):
        return (
            "Training rows:   streamed\n"
            f"Parameters:      {trained:,} of {total:,} are trained\n"
            f"Steps:           {args.max_steps} of {per_step} rows"
        )
    lines = [f"Parameters:      {trained:,} of {total:,} are trained"]
    if isinstance(trainer.train_dataset, IterableDataset):
        lines.append(f"Steps:           {args.max_steps} of {per_step} rows, streamed")
    else:
        rows = len(trainer.train_dataset)
        # As Trainer counts: an epoch's last step may be smaller.
        steps = math.ceil(-(-rows // per_step) * args.num_train_epochs)
        steps = args.max_steps if args.max_steps > 0 else steps
        lines.append(f"Training rows:   {rows} ({_by_mode(trainer.train_dataset)})")
        lines.append(
            f"Steps:           {steps} of {per_step} rows ({steps * per_step / rows:.1f} epochs)"
        )
    if trainer.eval_dataset is not None:
        answers = getattr(trainer, "answers", None)
        asked = f", {len(answers.rows)} by their answers" if answers is not None else ""
        lines.append(f"Validation rows: {len(trainer.eval_dataset)} by their loss{asked}")
    if args.load_best_model_at_end:
        lines.append(f"Best checkpoint: by {args.metric_for_best_model}")
    return "\n".join(lines)


def _by_mode(rows: Dataset) -> str:
    # Under its transform, reading one column would render every row.
    counts = Counter(rows.with_format(None)["mode"][:])
    return ", ".join(f"{mode} {count}" for mode, count in sorted(counts.items()))
