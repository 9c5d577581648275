"""How it is computed: which attention, and compiled or not. Results stay what they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import TrainingArguments
from transformers.utils.output_capturing import maybe_install_capturing_hooks

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.training.feature_cache import core_of


@contextmanager
def attention_errors(attn_implementation: str | None) -> Iterator[None]:
    """Say in one line that a kind of attention can't be had.

    Args:
        attn_implementation: what was asked for; encoder and language model both get it.

    Raises:
        MixingBuddyError: building the model raised for want of a package, or of the name.
    """
    try:
        yield
    except (ImportError, ValueError) as error:
        if attn_implementation is None or isinstance(error, MixingBuddyError):
            raise
        raise MixingBuddyError(
            f"--attn_implementation {attn_implementation} can't be used here: {error}. "
            "sdpa and eager need nothing but PyTorch."
        ) from error


def prepare_to_compile(model: torch.nn.Module, training_args: TrainingArguments) -> None:
    """Do what must be done before ``--torch_compile`` compiles a model.

    transformers collects hidden states by hooks that it sets in the first forward pass. Set while
    the model is traced they would break its graph into pieces, each compiled again and again.

    Args:
        model: the model, with an adapter around it or without.
        training_args: with `torch_compile` on or off.

    Raises:
        MixingBuddyError: there is no C++ compiler, which compiling for a CPU needs.
    """
    if not training_args.torch_compile:
        return
    if training_args.device.type == "cpu" and training_args.torch_compile_backend == "inductor":
        check_compiler()
    core = core_of(model)
    for part in (core.audio_tower, core.language_model):
        maybe_install_capturing_hooks(part)


def check_compiler() -> None:
    """Raise `MixingBuddyError` where PyTorch finds no C++ compiler."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except (InvalidCxxCompiler, RuntimeError) as error:
        raise MixingBuddyError(
            "--torch_compile on a CPU needs a C++ compiler (Debian's package g++), and none is "
            "found. Install one, or leave the flag out."
        ) from error
