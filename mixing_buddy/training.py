"""Supervised fine-tuning on TRL: arguments, model, data and trainer of ``train_sft.py``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset, concatenate_datasets, get_dataset_split_names
from peft import LoraConfig
from transformers.trainer_utils import get_last_checkpoint
from trl import ModelConfig, SFTConfig, SFTTrainer, get_quantization_config

from mixing_buddy.collation import SFTCollator
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.modeling import MixingBuddyForConditionalGeneration, MixingBuddyProcessor
from mixing_buddy.modeling.modeling_mixing_buddy import level_loss_function
from mixing_buddy.presets import PRESETS
from mixing_buddy.rendering import RenderTransform, parse_sources
from mixing_buddy.rows import open_rows, spread

#: Every linear layer of the language model, and none of the audio encoder's, which share suffixes.
LORA_TARGETS = (
    r".*language_model\.layers\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
)

#: Parts that start untrained and are trained in full beside the adapter.
TRAINED_IN_FULL = ["multi_modal_projector", "layer_mix", "level_head"]


@dataclass
class DataArguments:
    """Which rows to train on and where their songs lie."""

    dataset: list[str] = field(
        metadata={"help": "Folders that `mixing-buddy build` wrote, or Hub ids; rows are joined."}
    )
    songs: list[str] = field(
        default_factory=list,
        metadata={"help": "Song folders as ROOT or NAME=ROOT, NAME being the rows' source."},
    )
    dataset_config: str = field(default="single_mix", metadata={"help": "Config of the dataset."})
    train_split: str = field(default="train", metadata={"help": "Split to learn from."})
    eval_split: str = field(
        default="validation", metadata={"help": "Split to validate on; never the test split."}
    )
    max_eval_rows: int = field(
        default=512, metadata={"help": "Validate on this many rows, evenly spread."}
    )
    freeze_audio_tower: bool = field(
        default=True, metadata={"help": "Leave the audio encoder as it is."}
    )


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


def load_rows(args: DataArguments, split: str, max_rows: int | None = None) -> Dataset:
    """Load one split of recipes with a transform that renders their audio when read.

    Args:
        args: where rows and songs are.
        split: name of the split.
        max_rows: keep this many rows, evenly spread over the split; all if None.

    Returns:
        A dataset whose rows gain ``clips``, arrays of shape `(num_samples,)`.

    Raises:
        MixingBuddyError: if none of the data sets has the split.
    """
    config = args.dataset_config
    parts = [
        open_rows(dataset, config, split)
        for dataset in args.dataset
        if split in get_dataset_split_names(dataset, config)
    ]
    if not parts:
        raise MixingBuddyError(f"No split {split!r} in {', '.join(args.dataset)}.")
    rows = concatenate_datasets(parts)
    return spread(rows, max_rows).with_transform(RenderTransform(parse_sources(args.songs)))


def build_model(model_args: ModelConfig):
    """Build a preset, or load a folder or Hub id.

    Returns:
        Model and processor.
    """
    name = model_args.model_name_or_path
    if name == "nano":
        model, processor = PRESETS[name]()
        if model_args.attn_implementation is not None:
            model.set_attn_implementation(model_args.attn_implementation)
        return model, processor
    dtype = model_args.dtype or "auto"
    quantization_config = get_quantization_config(model_args)
    if name in PRESETS:
        device_map = "auto" if quantization_config is not None else None
        return PRESETS[name](
            dtype=dtype, quantization_config=quantization_config, device_map=device_map
        )
    model = MixingBuddyForConditionalGeneration.from_pretrained(
        name,
        revision=model_args.model_revision,
        dtype=dtype,
        quantization_config=quantization_config,
        attn_implementation=model_args.attn_implementation,
    )
    return model, MixingBuddyProcessor.from_pretrained(name, revision=model_args.model_revision)


def lora_config(model_args: ModelConfig) -> LoraConfig | None:
    """Return the adapter's configuration, None for full training."""
    if not model_args.use_peft:
        return None
    return LoraConfig(
        r=model_args.lora_r,
        lora_alpha=model_args.lora_alpha,
        lora_dropout=model_args.lora_dropout,
        target_modules=LORA_TARGETS,
        modules_to_save=TRAINED_IN_FULL,
        task_type="CAUSAL_LM",
    )


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


def keep_trainables_in_float32(model) -> None:
    """Undo TRL's cast of a quantised model's trainable weights to bfloat16.

    The new parts are trained from scratch, where bfloat16's steps are too coarse; autocast brings
    them to the precision of the computation.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def checkpoint_to_resume(training_args: SFTConfig) -> str | None:
    """Return the checkpoint to go on from.

    ``resume_from_checkpoint`` is a folder, or ``latest`` for the newest in the output folder.

    Raises:
        MixingBuddyError: if the newest is asked for and there is none, or if the output folder
            holds checkpoints and nothing says whether to go on from them.
    """
    folder = Path(training_args.output_dir)
    newest = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    wanted = training_args.resume_from_checkpoint
    if wanted == "latest":
        if newest is None:
            raise MixingBuddyError(f"{folder} holds no checkpoint to resume from.")
        return newest
    if wanted is None and newest is not None:
        raise MixingBuddyError(
            f"{folder} already holds {Path(newest).name}. Add --resume_from_checkpoint latest to "
            "go on from it, or choose another --output_dir."
        )
    return wanted
