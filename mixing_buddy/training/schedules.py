"""What changes while training goes on: dropout, and when to stop."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from transformers import TrainerCallback

from mixing_buddy.errors import MixingBuddyError

#: A layer of the projector's MLP, its adapter's copy too; not one of its context layers.
_PROJECTOR_LAYER = re.compile(r"multi_modal_projector\.(?:.*\.)?layers\.(\d+)$")


def projector_dropouts(model: torch.nn.Module) -> list[list[torch.nn.Dropout]]:
    """List the projector's dropout layers, first to last.

    Returns:
        For each hidden layer its dropouts: one, or two where an adapter keeps a copy of the
        projector.
    """
    layers: dict[str, list[torch.nn.Dropout]] = {}
    for name, module in model.named_modules():
        place = _PROJECTOR_LAYER.search(name)
        if isinstance(module, torch.nn.Dropout) and place:
            layers.setdefault(place[1], []).append(module)
    return [layers[number] for number in sorted(layers, key=int)]


def expand_dropouts(values: Sequence[float], num_layers: int, option: str) -> list[float]:
    """Check dropouts of the projector, and repeat a single one for every layer.

    Raises:
        MixingBuddyError: another number of them than layers, or one out of range.
    """
    expanded = list(values) * num_layers if len(values) == 1 else list(values)
    if len(expanded) != num_layers:
        raise MixingBuddyError(
            f"{option} has {len(values)} values: give one for each of the projector's "
            f"{num_layers} hidden layers, or one for all."
        )
    if not all(0 <= value < 1 for value in expanded):
        raise MixingBuddyError(f"{option} is {list(values)}: give numbers from 0 to below 1.")
    return expanded


class DropoutSchedule(TrainerCallback):
    """Moves the projector's dropouts in a straight line from start to end of training.

    They follow from the step alone, so a resumed run has those of a run that was never stopped.

    Args:
        start: dropout after each hidden layer at the first step.
        end: the same at the last step.
    """

    def __init__(self, start: Sequence[float], end: Sequence[float]):
        self.start, self.end = list(start), list(end)

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        """Set the dropouts of the step that begins."""
        done = state.global_step / max(state.max_steps - 1, 1)
        values = zip(self.start, self.end, projector_dropouts(model), strict=True)
        for start, end, layers in values:
            for layer in layers:
                layer.p = start + min(done, 1.0) * (end - start)


class PatientStopping(TrainerCallback):
    """Stops when so many validations in a row brought no better score.

    It counts in the log, which checkpoints keep, so that a resumed run stops where the run that
    was never stopped does. (transformers' own callback starts to count anew.)

    Args:
        patience: how many validations to wait for a better score.
        threshold: by how much it must be better.
    """

    def __init__(self, patience: int, threshold: float = 0.0):
        self.patience, self.threshold = patience, threshold

    def on_evaluate(self, args, state, control, **kwargs):
        """Count the validations since the best."""
        name = f"eval_{args.metric_for_best_model.removeprefix('eval_')}"
        scores = [entry[name] for entry in state.log_history if name in entry]
        best, waited = None, 0
        for score in scores if args.greater_is_better else [-score for score in scores]:
            if best is None or score > best + self.threshold:
                best, waited = score, 0
            else:
                waited += 1
        if waited >= self.patience:
            control.should_training_stop = True
