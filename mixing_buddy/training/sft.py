"""Supervised fine-tuning on TRL: the trainer of ``train_sft.py``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from transformers import TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from mixing_buddy.collation import SFTCollator
from mixing_buddy.training.arguments import (
    AugmentationArguments,
    DataArguments,
    LearningArguments,
    ModelArguments,
    ValidationArguments,
)
from mixing_buddy.training.auxiliary import AuxiliaryLoss, Figures, Listener
from mixing_buddy.training.auxiliary import auxiliary_losses as choose_losses
from mixing_buddy.training.checkpoints import AdapterCheckpoints
from mixing_buddy.training.checks import check_splits, check_trackers
from mixing_buddy.training.decisions import DecisionMarker
from mixing_buddy.training.distributed import count_known_levels, num_known
from mixing_buddy.training.feature_cache import use_feature_cache
from mixing_buddy.training.kernels import attention_errors, prepare_to_compile
from mixing_buddy.training.models import (
    TRAINED_IN_FULL,
    build_model,
    keep_trainables_in_float32,
    lora_config,
)
from mixing_buddy.training.rows import load_rows, row_callbacks, validation_rows
from mixing_buddy.training.schedules import (
    DropoutSchedule,
    PatientStopping,
    expand_dropouts,
    projector_dropouts,
)
from mixing_buddy.training.streaming import training_rows
from mixing_buddy.training.validation import AnswerValidation, prepare


class MixingBuddySFTTrainer(AdapterCheckpoints, SFTTrainer):
    """TRL's ``SFTTrainer`` with auxiliary losses and validation by answers.

    Args:
        args: as ``SFTTrainer`` takes them, and all that is not named here.
        auxiliary_losses: losses to add; by default the level loss with the weight that the model's
            configuration gives.
        answers: asks the model about validation rows at evaluations; None: don't ask.
        hearing_learning_rate: learning rate of the parts that hear; None: that of the others.
        kwargs: as ``SFTTrainer`` takes them.
    """

    def __init__(
        self,
        *args,
        auxiliary_losses: Sequence[AuxiliaryLoss] | None = None,
        answers: AnswerValidation | None = None,
        hearing_learning_rate: float | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.hearing_learning_rate = hearing_learning_rate
        if auxiliary_losses is None:
            auxiliary_losses = choose_losses(level_loss_weight=self.model.config.level_loss_weight)
        self.auxiliary_losses = list(auxiliary_losses)
        self.answers = answers
        self.listener = Listener(self.model)
        if not any(loss.over_levels for loss in self.auxiliary_losses):
            # Nothing would reach it, and DDP waits for the gradients of all that is trained.
            for name, parameter in self.model.named_parameters():
                if "level_head." in name:
                    parameter.requires_grad_(False)

    def create_optimizer(self, model=None):
        """Create the optimizer; the parts that hear may have a learning rate of their own."""
        if self.optimizer is None and self.hearing_learning_rate is not None:
            optimizer = super().create_optimizer(model)
            hearing = {
                parameter
                for name, parameter in (self.model if model is None else model).named_parameters()
                if any(f"{part}." in name for part in TRAINED_IN_FULL)
            }
            # The scheduler multiplies each group's own rate.
            for group in list(optimizer.param_groups):
                heard = [each for each in group["params"] if each in hearing]
                group["params"] = [each for each in group["params"] if each not in hearing]
                if heard:
                    optimizer.add_param_group(
                        {**group, "params": heard, "lr": self.hearing_learning_rate}
                    )
        return super().create_optimizer(model)

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """Take the batches of one step, and count the levels known in them by all processes."""
        batches, num_items_in_batch = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._num_known_levels = count_known_levels(batches, self.accelerator)
        return batches, num_items_in_batch

    def share_of_levels(self, labels_db):
        """Return what turns a batch's mean over known levels into its part of the step's mean.

        Data parallelism averages over processes, so the part is multiplied by their number.
        """
        share = num_known(labels_db) / self._num_known_levels.clamp(min=1)
        return share * self.accelerator.num_processes

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return TRL's loss plus the weighted auxiliary losses."""
        inputs = dict(inputs)
        labels_db = inputs.pop("stem_levels_labels_db", None)
        decision_mask = inputs.pop("decision_mask", None)
        mask = inputs["attention_mask"]
        result = super().compute_loss(
            model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
        )
        loss = result[0] if return_outputs else result
        caught = self.listener.collect(mask, labels_db, decision_mask)
        for auxiliary in self.auxiliary_losses if caught is not None else ():
            learnt = auxiliary.function(caught)
            if learnt is None:
                continue
            part = auxiliary.weight * learnt[0]
            if num_items_in_batch is not None:
                # Trainer then leaves it to the loss to average over accumulated batches.
                part = part * (
                    self.share_of_levels(labels_db)
                    if auxiliary.over_levels
                    else 1.0 / self.current_gradient_accumulation_steps
                )
            loss = loss + part
            self._log_figures(learnt[1])
        return (loss, result[1]) if return_outputs else loss

    def _log_figures(self, figures: Figures) -> None:
        """Average figures over processes and put them into the log."""
        mode = "train" if self.model.training else "eval"
        sums = torch.stack([part.float() for figure in figures.values() for part in figure])
        sums = self.accelerator.gather(sums).view(-1, len(figures), 2).sum(0).tolist()
        for name, (total, count) in zip(figures, sums, strict=True):
            self._metrics[mode][name].append(total / max(count, 1.0))

    def evaluation_loop(self, *args, metric_key_prefix: str = "eval", **kwargs):
        """Evaluate, and ask the model about validation rows where that is due."""
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        if metric_key_prefix == "eval" and self.answers is not None:
            step = self.state.global_step
            if self.answers.is_due(step):
                figures = self.answers(self.model, self.accelerator, step)
                output.metrics.update({f"eval_{name}": each for name, each in figures.items()})
                # What the model did while it answered is no part of the next training step.
                self.listener.collect(None, None)
        return output

    def _determine_best_metric(self, metrics, trial):
        """Leave the best as it is where nothing was asked; break ties by the loss.

        A share of a few hundred answers is often the same twice, and at first it is 0 for long:
        transformers would call the first of equals the best.
        """
        name = f"eval_{(self.args.metric_for_best_model or 'loss').removeprefix('eval_')}"
        unasked = self.answers is not None and not self.answers.is_due(self.state.global_step)
        if unasked and name not in metrics:
            return False
        ties = name in metrics and metrics[name] == self.state.best_metric
        best_step = self.state.best_global_step
        if super()._determine_best_metric(metrics, trial):
            return True
        losses = [
            entry["eval_loss"]
            for entry in self.state.log_history
            if entry.get("step") == best_step and "eval_loss" in entry
        ]
        if not (ties and losses and metrics.get("eval_loss", math.inf) < losses[-1]):
            return False
        self.state.best_global_step = self.state.global_step
        return True


def build_trainer(
    data_args: DataArguments,
    training_args: SFTConfig,
    model_args: ModelArguments,
    augmentation: AugmentationArguments | None = None,
    learning: LearningArguments | None = None,
    validation: ValidationArguments | None = None,
) -> MixingBuddySFTTrainer:
    """Build everything that training needs.

    The arguments that an audio model needs of TRL are set here, so that no configuration file can
    forget them: rows are rendered and tokenised by the collator, not prepared by TRL.

    Raises:
        MixingBuddyError: settings don't fit together, or data or songs are missing.
    """
    augmentation = augmentation or AugmentationArguments()
    learning = learning or LearningArguments()
    learning.check()
    validation = validation or ValidationArguments()
    check_splits(data_args)
    check_trackers(training_args)
    validate_every = prepare(validation, training_args)
    training_args.dataset_kwargs = {"skip_prepare_dataset": True}
    training_args.remove_unused_columns = False
    # DDP's search for unused parameters starts at the model's output, and TRL's does not carry the
    # level head's prediction, so it would count the head as unused.
    training_args.ddp_find_unused_parameters = False
    train_rows = training_rows(data_args, training_args, augmentation)
    # TRL seeds only after this: the parts that start untrained must follow from the seed too.
    set_seed(training_args.seed)
    with attention_errors(model_args.attn_implementation):
        model, processor = build_model(model_args)
    if data_args.freeze_audio_tower:
        model.model.audio_tower.requires_grad_(False)
    answers = None
    if validation.validate_answers_rows:
        answers = AnswerValidation(
            load_rows(data_args, data_args.eval_split, validation.validate_answers_rows),
            processor,
            batch_size=training_args.per_device_eval_batch_size,
            every_steps=validate_every,
            output_dir=training_args.output_dir,
        )
    trainer = MixingBuddySFTTrainer(
        model=model,
        args=training_args,
        train_dataset=train_rows,
        eval_dataset=validation_rows(data_args, training_args),
        data_collator=SFTCollator(
            processor,
            DecisionMarker(processor.tokenizer) if learning.decision_loss_weight else None,
        ),
        processing_class=processor,
        peft_config=lora_config(model_args),
        auxiliary_losses=_losses(model.config, learning),
        answers=answers,
        hearing_learning_rate=learning.hearing_learning_rate,
        callbacks=[
            *_dropout_callbacks(model, learning),
            *row_callbacks(train_rows),
            *_stopping_callbacks(validation),
        ],
    )
    model.config.trained_modes = list(data_args.dataset_config)
    keep_trainables_in_float32(trainer.model)
    prepare_to_compile(trainer.model, training_args)
    if data_args.feature_cache is not None:
        use_feature_cache(trainer, data_args.feature_cache, augmented=augmentation.any)
    return trainer


def _losses(config, learning: LearningArguments) -> list[AuxiliaryLoss]:
    if learning.level_loss_weight is not None:
        config.level_loss_weight = learning.level_loss_weight
    return choose_losses(
        level_loss_weight=config.level_loss_weight,
        norm_matching_weight=learning.norm_matching_weight,
        decision_loss_weight=learning.decision_loss_weight,
    )


def _dropout_callbacks(model, learning: LearningArguments) -> list[TrainerCallback]:
    """Set the projector's dropouts, and schedule them where they are to change."""
    layers = projector_dropouts(model)
    if learning.projector_dropouts:
        values = expand_dropouts(learning.projector_dropouts, len(layers), "projector_dropouts")
        model.config.projector_dropouts = values
        for value, dropouts in zip(values, layers, strict=True):
            for dropout in dropouts:
                dropout.p = value
    if not learning.final_projector_dropouts:
        return []
    final = expand_dropouts(
        learning.final_projector_dropouts, len(layers), "final_projector_dropouts"
    )
    return [DropoutSchedule(model.config.projector_dropouts, final)]


def _stopping_callbacks(validation: ValidationArguments) -> list[TrainerCallback]:
    if not validation.early_stopping_patience:
        return []
    return [
        PatientStopping(validation.early_stopping_patience, validation.early_stopping_threshold)
    ]
