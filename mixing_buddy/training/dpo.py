"""Direct preference optimisation on TRL: the trainer of ``train_dpo.py``."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import partial

import torch
from peft import LoraConfig
from torch import nn
from trl import DPOConfig, DPOTrainer, get_quantization_config

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.model_names import check_model_name
from mixing_buddy.modeling import MixingBuddyProcessor
from mixing_buddy.presets import PRESETS
from mixing_buddy.training.arguments import DataArguments, ModelArguments
from mixing_buddy.training.checkpoints import AdapterCheckpoints, is_adapter, load_adapter
from mixing_buddy.training.checks import check_splits, check_trackers
from mixing_buddy.training.feature_cache import encode_once, use_feature_cache
from mixing_buddy.training.kernels import attention_errors, prepare_to_compile
from mixing_buddy.training.models import build_model, keep_trainables_in_float32, lora_config
from mixing_buddy.training.preference_collation import KINDS, PreferenceCollator
from mixing_buddy.training.rows import load_rows, validation_rows

#: The adapter that is trained, and TRL's name for its frozen copy.
POLICY, REFERENCE = "default", "ref"


@dataclass
class PreferenceArguments(DataArguments):
    """Which pairs to train on, and what of the model to leave alone."""

    dataset_config: list[str] = field(
        default_factory=lambda: ["preference"],
        metadata={"help": "Configs of the datasets, with a chosen and a rejected answer a row."},
    )
    freeze_projector: bool = field(
        default=True,
        metadata={"help": "Leave layer mix and projector as supervised fine-tuning left them."},
    )


class MixingBuddyDPOTrainer(AdapterCheckpoints, DPOTrainer):
    """TRL's ``DPOTrainer`` for audio, with figures for each kind of fault.

    Beside TRL's metrics, for each ``KIND`` of rejected answer in the log: ``rewards/margins/KIND``,
    ``rewards/accuracies/KIND`` (both against the reference, so 0 at the start), and
    ``preferred/KIND``, the share of pairs whose chosen answer the model itself finds more likely.

    Args:
        frozen: parts of the model that stay as they are, such as "audio_tower".
        args: for TRL's ``DPOTrainer``, with a reference for full models. Dropout must be off.
        kwargs: likewise.
    """

    def __init__(self, *args, frozen: tuple[str, ...] = (), **kwargs):
        self._frozen = frozen
        super().__init__(*args, **kwargs)
        for model in filter(None, (self.model, self.ref_model)):
            disable_functional_dropout(model)
        self._freeze()

    def _prepare_dataset(self, dataset, *args, **kwargs):
        """Leave rows alone: they are rendered as they are read and tokenised by the collator."""
        return dataset

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return TRL's loss, and log the figures for each kind of fault."""
        inputs = dict(inputs)
        kinds = inputs.pop("rejected_kind")
        if not (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            # Policy and reference hear the same: a frozen encoder need hear it once. One whose
            # weights lie scattered can't be called by itself.
            inputs = encode_once(self.model, inputs)
        scored: list = []
        hooks = [
            # Policy and reference may be the same module, called twice.
            each.register_forward_hook(lambda module, args, output: scored.append(output))
            for each in filter(None, (self.model, self.ref_model))
        ]
        try:
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        finally:
            for hook in hooks:
                hook.remove()
            # PEFT makes all parts of an adapter trainable when it switches back from the reference.
            self._freeze()
        policy, reference = (output.log_probs.detach().sum(-1) for output in scored[:2])
        self._log_kinds(kinds, policy, reference)
        return loss

    def _log_kinds(
        self, kinds: torch.Tensor, policy: torch.Tensor, reference: torch.Tensor
    ) -> None:
        """Log figures of a batch by kind; log-probabilities have shape `(2 * num_rows,)`."""
        difference, reference_difference = (
            chosen - rejected
            for chosen, rejected in (logps.chunk(2) for logps in (policy, reference))
        )
        margins = self.beta * (difference - reference_difference)
        gathered = self.accelerator.gather((kinds, margins, difference))
        metrics = self._metrics["train" if self.model.training else "eval"]
        for kind, margin, preference in zip(*(each.tolist() for each in gathered), strict=True):
            metrics[f"rewards/margins/{KINDS[kind]}"].append(margin)
            metrics[f"rewards/accuracies/{KINDS[kind]}"].append(float(margin > 0))
            metrics[f"preferred/{KINDS[kind]}"].append(float(preference > 0))

    def _freeze(self) -> None:
        for name, parameter in self.model.named_parameters():
            if any(f".{part}." in f".{name}" for part in self._frozen):
                parameter.requires_grad_(False)


def disable_functional_dropout(model: nn.Module) -> None:
    """Switch off the dropout that layers keep as a number; TRL only knows ``nn.Dropout``.

    MERT's and Qwen2's attention have it. With it policy and reference would hear different audio,
    and the loss would be of that difference.
    """
    for module in model.modules():
        for name in ("dropout", "attention_dropout", "dropout_p"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def load_start(
    model_args: ModelArguments, freeze_projector: bool
) -> tuple[nn.Module, MixingBuddyProcessor, nn.Module | None, LoraConfig | None]:
    """Load the model that supervised fine-tuning made, and what DPO compares it to.

    A full model gets a frozen copy as its reference, or, where an adapter is to be trained, none:
    without its adapter it is the reference. Of an adapter TRL makes a frozen copy beside it.

    Args:
        model_args: ``model_name_or_path`` is a full model or an adapter, folder or Hub id.
        freeze_projector: whether a new adapter leaves the projector alone.

    Returns:
        The policy, its processor, a full model's reference and a new adapter's configuration.

    Raises:
        MixingBuddyError: if there is only an untrained model to start from.
    """
    name, revision = model_args.model_name_or_path, model_args.model_revision
    if name is None or name in PRESETS:
        raise MixingBuddyError(
            f"--model_name_or_path is {name!r}, but DPO starts from a model that knows how to "
            "answer: give the folder that train_sft.py saved, a full model or an adapter."
        )
    check_model_name(name)
    if not is_adapter(name, revision=revision):
        model, processor = build_model(model_args)
        adapter = lora_config(model_args)
        if adapter is None:
            return model, processor, copy.deepcopy(model).requires_grad_(False).eval(), None
        if freeze_projector:
            adapter.modules_to_save = None
        return model, processor, None, adapter
    model, processor = load_adapter(
        name,
        revision=revision,
        dtype=model_args.dtype or "auto",
        quantization=get_quantization_config(model_args),
        is_trainable=True,
    )
    # The copy that TRL adds as the reference is no part of a checkpoint.
    model.save_pretrained = partial(model.save_pretrained, selected_adapters=[POLICY])
    return model, processor, None, None


def build_trainer(
    data_args: PreferenceArguments, training_args: DPOConfig, model_args: ModelArguments
) -> MixingBuddyDPOTrainer:
    """Build everything that DPO needs.

    Raises:
        MixingBuddyError: on settings that would spoil the comparison, or that audio can't have.
    """
    check_splits(data_args)
    check_trackers(training_args)
    if model_args.dry_run:
        raise MixingBuddyError("--dry_run: train_sft.py has it, for runs of its own.")
    if not training_args.disable_dropout:
        raise MixingBuddyError(
            "--disable_dropout false: dropout would be drawn apart for policy and reference, and "
            "the rewards would be of that noise. Leave it out."
        )
    if training_args.precompute_ref_log_probs:
        raise MixingBuddyError(
            "--precompute_ref_log_probs true: rows are rendered as they are read and can't be "
            "rewritten with the reference's figures. Leave it out."
        )
    training_args.remove_unused_columns = False
    # As in supervised fine-tuning: every trained parameter gets a gradient.
    training_args.ddp_find_unused_parameters = False
    # The processor's text is never cut: audio tokens would be lost.
    training_args.max_length = None
    train_rows = load_rows(data_args, data_args.train_split)
    eval_rows = validation_rows(data_args, training_args)
    for rows in filter(None, (train_rows, eval_rows)):
        if "rejected" not in rows.column_names:
            raise MixingBuddyError(
                f"The rows of config {', '.join(data_args.dataset_config)} have no rejected "
                "answer: take --dataset_config preference."
            )
    with attention_errors(model_args.attn_implementation):
        model, processor, reference, adapter = load_start(model_args, data_args.freeze_projector)
    start = {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if f".{POLICY}." in name
    }
    frozen = ["level_head"]
    if data_args.freeze_audio_tower:
        frozen.append("audio_tower")
    if data_args.freeze_projector:
        frozen += ["layer_mix", "multi_modal_projector"]
    trainer = MixingBuddyDPOTrainer(
        model=model,
        ref_model=reference,
        args=training_args,
        train_dataset=train_rows,
        eval_dataset=eval_rows,
        data_collator=PreferenceCollator(processor),
        processing_class=processor,
        peft_config=adapter,
        frozen=tuple(frozen),
    )
    keep_trainables_in_float32(trainer.model)
    restore(trainer.model, start)
    prepare_to_compile(trainer.model, training_args)
    if data_args.feature_cache is not None:
        use_feature_cache(trainer, data_args.feature_cache)
    return trainer


def restore(model: nn.Module, start: dict[str, torch.Tensor]) -> None:
    """Put an adapter's weights, as loaded, back into it and into its copy, the reference.

    TRL brings a quantised model's trainable weights to bfloat16: what is trained would be rounded,
    and policy and reference, where one is rounded or computed otherwise, would differ at the start.
    """
    parameters = dict(model.named_parameters())
    for name, value in start.items():
        for each in (name, name.replace(f".{POLICY}.", f".{REFERENCE}.")):
            parameters[each].data = value.float().to(parameters[each].device, copy=True)
