"""One model of several: the mean of weights that were trained onwards from the same model.

Trainings that part from one another, by their songs, their seed or their length, err differently;
where they still lie in one valley of the loss, the mean of their weights errs less than any of
them and costs no more to run (M. Wortsman et al., "Model soups", 2022, arXiv:2203.05482). Models
that were begun apart lie in different valleys, and their mean is worth nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixing_buddy.advising.loading import load_model
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.model_names import check_model_name, refusing_damage
from mixing_buddy.training.checkpoints import is_adapter, write_model

#: Fields of a configuration that change nothing of what a model computes from its weights.
_OF_NO_MATTER = ("transformers_version", "_name_or_path", "dtype", "level_loss_weight")


def average_models(
    models: Sequence[str | Path], out: str | Path, *, shares: Sequence[float] | None = None
) -> Path:
    """Write the weighted mean of models as one model.

    Models are held in memory one at a time, beside the sum in float32.

    Args:
        models: folders or Hub ids of two whole models or more, of one configuration.
        out: folder to write: safetensors, and processor, configuration, data types and the model's
            code as of the first model.
        shares: how much each model counts, relative to the others; alike by default.

    Returns:
        The folder.

    Raises:
        MixingBuddyError: a model can't be loaded, is an adapter or differs from the first in
            configuration, tokens or weights, shares don't fit, or `out` exists.
    """
    out = Path(out)
    fractions = _fractions(models, shares)
    if out.exists():
        raise MixingBuddyError(f"{out} exists already: remove it, or write elsewhere.")
    first, processor = _load(models[0])
    sums = {name: value.float() * fractions[0] for name, value in first.state_dict().items()}
    for name_or_path, fraction in zip(models[1:], fractions[1:], strict=True):
        model, other_processor = _load(name_or_path)
        _check_alike(models[0], first, processor, name_or_path, model, other_processor)
        for name, value in model.state_dict().items():
            sums[name].add_(value.float(), alpha=fraction)
    # Copies each into the data type that the first model has it in.
    first.load_state_dict(sums)
    write_model(first, processor, out)
    return out


def _fractions(models: Sequence[str | Path], shares: Sequence[float] | None) -> list[float]:
    if len(models) < 2:
        raise MixingBuddyError("A mean takes two models or more: name another.")
    if shares is None:
        shares = [1.0] * len(models)
    if len(shares) != len(models):
        raise MixingBuddyError(
            f"{len(models)} models and {len(shares)} shares: give every model a share, or none."
        )
    if not all(share > 0 and math.isfinite(share) for share in shares):
        raise MixingBuddyError(
            f"Shares are {', '.join(f'{share:g}' for share in shares)}: all must be above 0."
        )
    return [share / sum(shares) for share in shares]


def _load(name_or_path: str | Path) -> tuple[Any, Any]:
    """Return a whole model and its processor; one that lacks weights is refused."""
    check_model_name(name_or_path)
    with refusing_damage(name_or_path):
        if is_adapter(name_or_path):
            raise MixingBuddyError(
                f"{name_or_path} is an adapter, and the mean of two adapters' factors is not that "
                "of what they make of their base: merge each with `mixing-buddy merge` first."
            )
    return load_model(name_or_path, revision=None, device="cpu", dtype="auto", quantization=None)


def _check_alike(first_name, first, first_processor, name, model, processor) -> None:
    """Raise unless weights of the same name do the same in both models."""
    ours, theirs = (_what_matters(each.config.to_dict()) for each in (first, model))
    for field in sorted(ours.keys() | theirs.keys()):
        if ours.get(field) != theirs.get(field):
            raise MixingBuddyError(
                f"{name} differs from {first_name} in {field} of its config.json: only models of "
                "one configuration, trained onwards from one model, have a mean."
            )
    if processor.tokenizer.get_vocab() != first_processor.tokenizer.get_vocab():
        raise MixingBuddyError(
            f"{name} has other tokens than {first_name}: only models trained onwards from one "
            "model have a mean."
        )


def _what_matters(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration, and those of its parts, without what does not matter here."""
    return {
        field: _what_matters(value) if isinstance(value, dict) else value
        for field, value in config.items()
        if field not in _OF_NO_MATTER
    }
