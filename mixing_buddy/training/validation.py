"""Validation by answers: the model is asked about rows, and what it says is graded.

A loss over given answers says little about advice: most of an answer's tokens follow from those
before, and one token decides which stem is meant.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import ProcessorMixin, TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from mixing_buddy.advice import parse_advice, parse_changes
from mixing_buddy.advising.inference import MixingBuddy
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.evaluation.grading import grade
from mixing_buddy.files import write_whole
from mixing_buddy.flaws import Category, Direction
from mixing_buddy.schema import DIFFERENTIAL
from mixing_buddy.training.arguments import ValidationArguments

#: The score that checkpoints are chosen by where answers are validated.
BEST_METRIC = "eval_joint"

#: What is kept of a row to grade its answer.
_COLUMNS = ("uid", "mode", "category", "target", "direction", "min_db", "max_db", "response")


class AnswerValidation:
    """Asks a model about the same rows whenever it is called.

    Args:
        rows: rendered rows, see ``training.rows.load_rows``.
        processor: the model's processor.
        batch_size: rows heard at a time.
        every_steps: ask every so many steps; None at every evaluation.
        output_dir: a file of answers is written here each time, into ``validation-answers``.
    """

    def __init__(
        self,
        rows: Dataset,
        processor: ProcessorMixin,
        *,
        batch_size: int,
        every_steps: int | None,
        output_dir: str | Path,
    ):
        self.rows = rows
        self.processor = processor
        self.batch_size = batch_size
        self.every_steps = every_steps
        self.folder = Path(output_dir) / "validation-answers"

    def is_due(self, step: int) -> bool:
        """Say whether the model is to be asked at a step at which it is evaluated."""
        return self.every_steps is None or step % self.every_steps == 0

    def __call__(self, model, accelerator, step: int) -> dict[str, float]:
        """Ask and grade; each process asks about its share of the rows.

        Args:
            model: the model as the trainer holds it; it is left in the mode that it is in.
            accelerator: the trainer's.
            step: number of the training step, for the file's name.

        Returns:
            Figures, see `score`, and `answers_seconds`, what they cost; alike in all processes.
        """
        start_s = time.perf_counter()
        model = accelerator.unwrap_model(model)
        was_training = model.training
        model.eval()
        try:
            asked = self._ask(model, accelerator)
        finally:
            model.train(was_training)
        # Sharing out evenly made some rows come twice.
        graded = [row for _, row in sorted({index: row for index, row in asked}.items())]
        if accelerator.is_main_process:
            self._write(graded, step)
        return {**score(graded), "answers_seconds": time.perf_counter() - start_s}

    def _ask(self, model, accelerator) -> list[tuple[int, dict[str, Any]]]:
        """Return index and graded row of each row, of all processes."""
        count, world_size = len(self.rows), accelerator.num_processes
        # Every process takes as many steps, since those of a sharded model only work together.
        share = -(-count // world_size)
        indices = [(accelerator.process_index + i * world_size) % count for i in range(share)]
        buddy = MixingBuddy(model, self.processor, batch_size=self.batch_size)
        starts = range(0, share, self.batch_size)
        asked = []
        for start in tqdm(
            starts, desc="Asking", leave=False, disable=not accelerator.is_local_main_process
        ):
            chosen = indices[start : start + self.batch_size]
            batch = self.rows[chosen]
            answers = buddy.answer(batch["clips"], batch["instruction"])
            for place, (index, answer) in enumerate(zip(chosen, answers, strict=True)):
                row = {column: batch[column][place] for column in _COLUMNS}
                row["needed_change_db"] = dict(batch["needed_change_db"][place])
                asked.append((index, {**row, "answer": answer} | grade_answer(row, answer)))
        return gather_object(asked)

    def _write(self, graded: Sequence[Mapping[str, Any]], step: int) -> None:
        columns = ("uid", "mode", "response", "answer", "joint", "error_db")
        lines = [json.dumps({column: row[column] for column in columns}) for row in graded]
        write_whole(self.folder / f"step-{step:06d}.jsonl", "\n".join(lines) + "\n")


def grade_answer(row: Mapping[str, Any], answer: str) -> dict[str, Any]:
    """Grade an answer to a row of any mode.

    Args:
        row: a row of the dataset.
        answer: what the model said.

    Returns:
        `joint`: stem and direction are right, or in "differential" all stems that are to be moved
        and no other, each in its direction; on a balanced mix, that nothing is to be changed.
        `understood`: whether advice could be read. `error_db`: in "differential" the mean
        distance of advised from needed changes, over the stems that either names; else None.
    """
    advice = parse_advice(answer)
    understood = advice.direction is not None
    if row["mode"] != DIFFERENTIAL:
        joint = grade(row, advice)["joint"]
        return {"joint": joint, "understood": understood, "error_db": None}
    needed_db = {stem: db for stem, db in row["needed_change_db"].items() if db}
    advised_db = parse_changes(answer)
    stems = needed_db.keys() | advised_db.keys()
    if not needed_db:
        joint = advice.direction is Direction.NONE
    else:
        joint = needed_db.keys() == advised_db.keys() and all(
            (advised_db[stem] > 0) == (needed_db[stem] > 0) for stem in stems
        )
    errors_db = [abs(advised_db.get(stem, 0.0) - needed_db.get(stem, 0.0)) for stem in stems]
    error_db = sum(errors_db) / len(errors_db) if errors_db else 0.0
    return {"joint": joint, "understood": understood or bool(advised_db), "error_db": error_db}


def score(graded: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Sum up graded rows.

    Args:
        graded: rows with what `grade_answer` made of them.

    Returns:
        `joint` over all rows, `no_error_recall` (the share of balanced mixes that are called so),
        `understood` (the share of answers that advice could be read from), and for each mode
        `joint_<mode>`, for "differential" `differential_error_db` too. What there are no rows for
        is left out.
    """
    figures = {"joint": _mean(row["joint"] for row in graded)}
    figures["understood"] = _mean(row["understood"] for row in graded)
    balanced = [row["joint"] for row in graded if row["category"] == Category.NO_ERROR]
    if balanced:
        figures["no_error_recall"] = _mean(balanced)
    for mode in sorted({row["mode"] for row in graded}):
        figures[f"joint_{mode}"] = _mean(row["joint"] for row in graded if row["mode"] == mode)
    errors_db = [row["error_db"] for row in graded if row["error_db"] is not None]
    if errors_db:
        figures["differential_error_db"] = _mean(errors_db)
    return figures


def _mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def prepare(args: ValidationArguments, training_args: TrainingArguments) -> int | None:
    """Check how a run validates, and choose what its best checkpoint is chosen by.

    Where answers are validated that is `BEST_METRIC`, unless ``metric_for_best_model`` names
    something else. ("loss" is what transformers puts in where nothing is named; to choose by
    the loss all the same, name "eval_loss".)

    Returns:
        How many steps lie between two validations by answers; None for every evaluation.

    Raises:
        MixingBuddyError: the settings don't fit together.
    """
    evaluates = training_args.eval_strategy != IntervalStrategy.NO
    if args.early_stopping_patience and not evaluates:
        raise MixingBuddyError(
            "early_stopping_patience needs validation: set eval_strategy and eval_steps."
        )
    if args.validate_answers_rows:
        if not evaluates:
            raise MixingBuddyError(
                "validate_answers_rows needs evaluations: set eval_strategy and eval_steps."
            )
        if training_args.metric_for_best_model in (None, "loss"):
            training_args.metric_for_best_model = BEST_METRIC
            training_args.greater_is_better = True
    if args.early_stopping_patience and training_args.metric_for_best_model is None:
        training_args.metric_for_best_model = "eval_loss"
        training_args.greater_is_better = False
    if not args.validate_answers_rows or training_args.eval_strategy != IntervalStrategy.STEPS:
        return None
    saves = training_args.save_strategy == SaveStrategy.STEPS
    eval_steps, save_steps = int(training_args.eval_steps), int(training_args.save_steps)
    steps = args.validate_answers_steps or (max(eval_steps, save_steps) if saves else eval_steps)
    if steps % eval_steps:
        raise MixingBuddyError(
            f"validate_answers_steps is {steps}, eval_steps {eval_steps}: give a multiple of it."
        )
    if saves and training_args.load_best_model_at_end and steps % save_steps:
        raise MixingBuddyError(
            f"validate_answers_steps is {steps}, save_steps {save_steps}: give a multiple of it, "
            "else the best model may be one that was never saved."
        )
    return steps
