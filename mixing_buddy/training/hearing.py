"""Learning to hear before learning to speak: the trainer of ``train_hearing.py``.

The level head has targets for every stem at every audio token, and needs no text. So the parts
that hear can be taught first, without the language model, which is most of the cost of a step.
"""

from __future__ import annotations

import torch
from transformers import Trainer, TrainingArguments, set_seed

from mixing_buddy.collation import HearingCollator
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.training.arguments import (
    AugmentationArguments,
    DataArguments,
    ModelArguments,
)
from mixing_buddy.training.checks import check_splits, check_trackers
from mixing_buddy.training.feature_cache import use_feature_cache
from mixing_buddy.training.kernels import attention_errors
from mixing_buddy.training.models import build_model
from mixing_buddy.training.rows import row_callbacks, validation_rows
from mixing_buddy.training.streaming import training_rows


class HearingTrainer(Trainer):
    """transformers' ``Trainer`` that logs the root mean square errors of levels in dB as well."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._errors = {True: [], False: []}

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        """Return the level loss, and remember the errors for the log."""
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        labels_db = inputs["stem_levels_labels_db"]
        error = (outputs.stem_levels_db.detach() - labels_db).square()
        self._errors[model.training].append(
            torch.stack([error.nansum((0, 2)), (~error.isnan()).sum((0, 2))])
        )
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        """Log, with the errors of levels at tokens and of loudness in clips since the last time."""
        for prefix, training in (("", True), ("eval_", False)):
            if f"{prefix}loss" in logs and self._errors[training]:
                sums = self.accelerator.reduce(torch.stack(self._errors[training]).sum(0))
                self._errors[training] = []
                tokens_db, clips_db = (sums[0] / sums[1].clamp(min=1)).sqrt().tolist()
                logs = {
                    **logs,
                    f"{prefix}level_rmse_db": tokens_db,
                    f"{prefix}loudness_rmse_db": clips_db,
                }
        super().log(logs, *args, **kwargs)


def build_trainer(
    data_args: DataArguments,
    training_args: TrainingArguments,
    model_args: ModelArguments,
    augmentation: AugmentationArguments | None = None,
) -> HearingTrainer:
    """Build everything that training needs.

    Raises:
        MixingBuddyError: settings don't fit together, or data or songs are missing.
    """
    augmentation = augmentation or AugmentationArguments()
    check_splits(data_args)
    check_trackers(training_args)
    if model_args.use_peft:
        raise MixingBuddyError(
            "use_peft is set, but the language model, which an adapter is for, is not trained to "
            "hear: leave it out."
        )
    training_args.remove_unused_columns = False
    training_args.label_names = ["stem_levels_labels_db"]
    training_args.prediction_loss_only = True
    training_args.ddp_find_unused_parameters = False
    train_rows = training_rows(data_args, training_args, augmentation)
    set_seed(training_args.seed)
    with attention_errors(model_args.attn_implementation):
        model, processor = build_model(model_args)
    # Tied to the token embeddings, so they go together.
    model.model.language_model.requires_grad_(False)
    model.lm_head.requires_grad_(False)
    if data_args.freeze_audio_tower:
        model.model.audio_tower.requires_grad_(False)
    trainer = HearingTrainer(
        model=model,
        args=training_args,
        train_dataset=train_rows,
        eval_dataset=validation_rows(data_args, training_args),
        data_collator=HearingCollator(processor),
        processing_class=processor,
        callbacks=row_callbacks(train_rows),
    )
    if data_args.feature_cache is not None:
        use_feature_cache(trainer, data_args.feature_cache, augmented=augmentation.any)
    return trainer
