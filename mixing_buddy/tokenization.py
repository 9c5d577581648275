"""Nano's tokenizer: a small byte-level BPE with Qwen2's control tokens."""

from __future__ import annotations

from collections.abc import Iterable

#: Control tokens. The chat marks are Qwen2's, so that one chat template serves every size.
END_OF_TEXT = "<|endoftext|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
AUDIO_TOKEN = "<|audio|>"


def train_tokenizer(texts: Iterable[str], vocab_size: int = 1536):
    """Train a byte-level BPE on ``texts``.

    Bytes make every text encodable, digits stand alone so that ranges share their tokens.

    Args:
        texts: the texts to learn merges from, in a fixed order.
        vocab_size: number of tokens at most, the control tokens included; by default enough for
            every word of this package's templates to be a token (1347 in all).

    Returns:
        A ``PreTrainedTokenizerFast`` that pads with ``<|endoftext|>`` and ends with ``<|im_end|>``.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    specials = [END_OF_TEXT, IM_START, IM_END, AUDIO_TOKEN]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=IM_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[IM_START, AUDIO_TOKEN],
        padding_side="right",
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
