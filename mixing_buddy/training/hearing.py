"""Learning to hear before learning to speak: the trainer of ``train_hearing.py``.

The level head has targets for every stem at every audio token, and needs no text; nor does it take
text to name the stem that is off. So the parts that hear can be taught first, without the language
model, which is most of the cost of a step.
"""

from __future__ import annotations

import torch
from transformers import Trainer, TrainingArguments, set_seed

from mixing_buddy.collation import HearingCollator
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.training.arguments import (
    AugmentationArguments,
    DataArguments,
    HearingArguments,
    ModelArguments,
)
from mixing_buddy.training.checks import check_splits, check_trackers
from mixing_buddy.training.feature_cache import use_feature_cache
from mixing_buddy.training.flaw_head import (
    FLAW_INPUTS,
    FlawHead,
    flaw_labels,
    flaw_loss_function,
)
from mixing_buddy.training.kernels import attention_errors
from mixing_buddy.training.models import build_model
from mixing_buddy.training.rows import row_callbacks, validation_rows
from mixing_buddy.training.streaming import training_rows


class HearingTrainer(Trainer):
    """transformers' ``Trainer`` that logs errors in dB, and may learn to name flaws as well.

    The head that names flaws is part of the model in checkpoints, so that a resumed run goes on
    with it, and not of the model that is saved in the end.

    Args:
        args: as ``Trainer`` takes them.
        flaw_loss_weight: weight of the loss on flaws; batches must have labels for it unless 0.
        kwargs: as ``Trainer`` takes them.
    """

    def __init__(self, *args, flaw_loss_weight: float = 0.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.flaw_loss_weight = flaw_loss_weight
        self._errors: dict[bool, list[torch.Tensor]] = {True: [], False: []}
        self._rights: dict[bool, list[torch.Tensor]] = {True: [], False: []}

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        """Return the level loss plus the weighted flaw loss, and remember figures for the log."""
        inputs = dict(inputs)
        flaws = {name: inputs.pop(name) for name in FLAW_INPUTS if name in inputs}
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        labels_db = inputs["stem_levels_labels_db"]
        error = (outputs.stem_levels_db.detach() - labels_db).square()
        self._errors[model.training].append(
            torch.stack([error.nansum((0, 2)), (~error.isnan()).sum((0, 2))])
        )
        if flaws and self.flaw_loss_weight:
            head = self.accelerator.unwrap_model(model).flaw_head
            logits = head(outputs.audio_embeds, flaws["tokens_per_clip"])
            flaw_loss, right = flaw_loss_function(
                logits, flaws["flaw_labels"], flaws["flaws_ruled_out"]
            )
            self._rights[model.training].append(
                torch.stack([right.sum(), torch.ones_like(right).sum()])
            )
            loss = loss + self.flaw_loss_weight * flaw_loss
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        """Log, with what is known since the last time of levels, loudness and flaws."""
        for prefix, training in (("", True), ("eval_", False)):
            if f"{prefix}loss" not in logs:
                continue
            if self._errors[training]:
                sums = self.accelerator.reduce(torch.stack(self._errors[training]).sum(0))
                self._errors[training] = []
                tokens_db, clips_db = (sums[0] / sums[1].clamp(min=1)).sqrt().tolist()
                logs = {
                    **logs,
                    f"{prefix}level_rmse_db": tokens_db,
                    f"{prefix}loudness_rmse_db": clips_db,
                }
            if self._rights[training]:
                right, count = self.accelerator.reduce(torch.stack(self._rights[training]).sum(0))
                self._rights[training] = []
                logs = {**logs, f"{prefix}flaw_joint": (right / count.clamp(min=1)).item()}
        super().log(logs, *args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model, without the head that names flaws unless it is for a checkpoint."""
        model = self.accelerator.unwrap_model(self.model)
        if not _internal_call and hasattr(model, "flaw_head"):
            del model.flaw_head
        super().save_model(output_dir, _internal_call)


def build_trainer(
    data_args: DataArguments,
    training_args: TrainingArguments,
    model_args: ModelArguments,
    augmentation: AugmentationArguments | None = None,
    hearing: HearingArguments | None = None,
) -> HearingTrainer:
    """Build everything that training needs.

    Raises:
        MixingBuddyError: settings don't fit together, or data or songs are missing.
    """
    augmentation = augmentation or AugmentationArguments()
    hearing = hearing or HearingArguments()
    hearing.check()
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
    if hearing.flaw_loss_weight:
        model.flaw_head = FlawHead(model.config.text_config.hidden_size)
    trainer = HearingTrainer(
        model=model,
        args=training_args,
        train_dataset=train_rows,
        eval_dataset=validation_rows(data_args, training_args),
        data_collator=HearingCollator(processor, flaw_labels if hearing.flaw_loss_weight else None),
        processing_class=processor,
        callbacks=row_callbacks(train_rows),
        flaw_loss_weight=hearing.flaw_loss_weight,
    )
    if data_args.feature_cache is not None:
        use_feature_cache(trainer, data_args.feature_cache, augmented=augmentation.any)
    return trainer
