"""Supervised fine-tuning on TRL: the trainer of ``train_sft.py``."""

from __future__ import annotations

from trl import ModelConfig, SFTConfig, SFTTrainer

from mixing_buddy.collation import SFTCollator
from mixing_buddy.modeling.modeling_mixing_buddy import level_loss_function
from mixing_buddy.training.arguments import DataArguments
from mixing_buddy.training.models import build_model, keep_trainables_in_float32, lora_config
from mixing_buddy.training.rows import load_rows


class MixingBuddySFTTrainer(SFTTrainer):
    """TRL's ``SFTTrainer`` with the auxiliary level loss.

    TRL computes the language-modelling loss from the headless model's states, not from the model's
    own ``loss``, so the level head's prediction is caught by a hook and its loss added here.
    """

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return TRL's loss plus ``config.level_loss_weight`` times the level loss."""
        inputs = dict(inputs)
        labels_db = inputs.pop("stem_levels_labels_db", None)
        heard: list = []
        level_head = next(
            module for name, module in model.named_modules() if name.endswith("level_head")
        )
        hook = level_head.register_forward_hook(lambda module, args, output: heard.append(output))
        try:
            result = super().compute_loss(
                model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
            )
        finally:
            hook.remove()
        if labels_db is None:
            return result
        mode = "train" if self.model.training else "eval"
        error_db = (heard[0].detach() - labels_db).abs().nanmean()
        self._metrics[mode]["level_mae_db"].append(self.accelerator.gather(error_db).mean().item())
        weighted = self.model.config.level_loss_weight * level_loss_function(heard[0], labels_db)
        if num_items_in_batch is not None:
            # Trainer then leaves it to the loss to average over accumulated batches.
            weighted = weighted / self.current_gradient_accumulation_steps
        if return_outputs:
            return result[0] + weighted, result[1]
        return result + weighted


def build_trainer(
    data_args: DataArguments, training_args: SFTConfig, model_args: ModelConfig
) -> MixingBuddySFTTrainer:
    """Build everything that training needs.

    The arguments that an audio model needs of TRL are set here, so that no configuration file can
    forget them: rows are rendered and tokenised by the collator, not prepared by TRL.
    """
    training_args.dataset_kwargs = {"skip_prepare_dataset": True}
    training_args.remove_unused_columns = False
    model, processor = build_model(model_args)
    if data_args.freeze_audio_tower:
        model.model.audio_tower.requires_grad_(False)
    evaluates = str(training_args.eval_strategy) not in ("no", "IntervalStrategy.NO")
    trainer = MixingBuddySFTTrainer(
        model=model,
        args=training_args,
        train_dataset=load_rows(data_args, data_args.train_split),
        eval_dataset=(
            load_rows(data_args, data_args.eval_split, data_args.max_eval_rows)
            if evaluates
            else None
        ),
        data_collator=SFTCollator(processor),
        processing_class=processor,
        peft_config=lora_config(model_args),
    )
    keep_trainables_in_float32(trainer.model)
    return trainer
