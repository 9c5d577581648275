"""Listening to a song and advising on its balance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import LogitsProcessor, LogitsProcessorList

from mixing_buddy import prompts
from mixing_buddy.advice import parse_advice
from mixing_buddy.advising.combining import SongAdvice, WindowAdvice, combine
from mixing_buddy.advising.windows import Window, read_windows
from mixing_buddy.chunks import CHUNK_S
from mixing_buddy.conversations import to_messages
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.modeling import MixingBuddyForConditionalGeneration, MixingBuddyProcessor
from mixing_buddy.stems import ADVISED_STEMS, STEMS


class MixingBuddy:
    """A model and its processor, ready to listen.

    Args:
        model: the model, in evaluation mode.
        processor: its processor.
        batch_size: windows heard at a time.
    """

    def __init__(
        self,
        model: MixingBuddyForConditionalGeneration,
        processor: MixingBuddyProcessor,
        *,
        batch_size: int = 16,
    ):
        self.model = model
        self.processor = processor
        self.batch_size = batch_size

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path | None = None,
        *,
        revision: str | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "auto",
        batch_size: int = 16,
    ) -> MixingBuddy:
        """Load a model.

        Args:
            name_or_path: folder or Hub id; None for nano, which comes with the package.
            revision: commit of the Hub repository.
            device: where the model runs; None for the GPU if there is one.
            dtype: data type of the weights.
            batch_size: windows heard at a time.

        Raises:
            MixingBuddyError: if the folder holds no model.
        """
        if name_or_path is None:
            name_or_path = str(files("mixing_buddy") / "checkpoints" / "nano")
        path = Path(name_or_path)
        if path.exists() and not (path / "config.json").is_file():
            raise MixingBuddyError(
                f"{path} holds no config.json: give the folder of a saved model, or leave the model"
                " out to use nano, which comes with the package."
            )
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        model = MixingBuddyForConditionalGeneration.from_pretrained(
            name_or_path, revision=revision, dtype=dtype
        )
        processor = MixingBuddyProcessor.from_pretrained(name_or_path, revision=revision)
        return cls(model.to(device).eval(), processor, batch_size=batch_size)

    @torch.inference_mode()
    def answer(
        self,
        samples: Sequence[Sequence[np.ndarray]],
        instructions: Sequence[str],
        *,
        silent_stems: Sequence[Sequence[str]] | None = None,
        progress: bool = False,
    ) -> list[str]:
        """Answer questions about clips, by greedy decoding.

        Args:
            samples: for each question its clips, mono at 24 kHz, of shape `(num_samples,)`.
            instructions: the questions, as many as samples.
            silent_stems: for each question the stems that are known not to sound, which the answer
                shall not name; None where nothing is known.
            progress: show a progress bar.

        Returns:
            The answers.
        """
        answers: list[str] = []
        silent_stems = silent_stems or [()] * len(samples)
        starts = range(0, len(samples), self.batch_size)
        for start in tqdm(starts, desc="Listening", unit="batch", disable=not progress):
            batch = slice(start, start + self.batch_size)
            inputs = self.processor.apply_chat_template(
                list(map(to_messages, samples[batch], instructions[batch])),
                tokenize=True,
                return_dict=True,
                add_generation_prompt=True,
                processor_kwargs={"padding_side": "left"},
            ).to(self.model.device)
            silenced = [self._silence(stems) for stems in silent_stems[batch]]
            tokens = self.model.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=96,
                logits_processor=LogitsProcessorList([_Silence(silenced)]),
            )
            tokens = tokens[:, inputs["input_ids"].shape[1] :]
            texts = self.processor.batch_decode(tokens, skip_special_tokens=True)
            answers += [text.strip() for text in texts]
        return answers

    def _silence(self, stems: Sequence[str]) -> list[int]:
        """List the tokens that begin the name of one of the stems."""
        words = [form + stem for stem in stems for form in ("", " ")]
        words += [word.removesuffix("s") for word in words if word.endswith(("vocals", "drums"))]
        return [self.processor.tokenizer.encode(word)[0] for word in words]

    def advise(
        self,
        path: str | Path,
        *,
        anchor: str | None = None,
        faders_db: Mapping[str, float] | None = None,
        progress: bool = False,
    ) -> SongAdvice:
        """Advise on a song.

        Args:
            path: a mix (audio file), or a folder of the stems bass, drums, other and vocals, which
                are summed as they stand.
            anchor: the stem whose level is taken as right; None asks with each in turn.
            faders_db: gains in dB to move a folder's stems by before listening.
            progress: show a progress bar.

        Returns:
            The advice, with that of each window.

        Raises:
            MixingBuddyError: if the path can't be read, or holds nothing to advise on.
        """
        if anchor is not None and anchor not in ADVISED_STEMS:
            raise MixingBuddyError(
                f"The anchor is {anchor!r}: choose one of {', '.join(ADVISED_STEMS)}."
            )
        windows = read_windows(path, faders_db=faders_db)
        asked = [
            (window, stem)
            for window in windows
            for stem in window.advised_stems
            if anchor in (None, stem) and len(window.advised_stems) > 1
        ]
        if not asked:
            what = f"{anchor} and another stem" if anchor else f"two of {', '.join(ADVISED_STEMS)}"
            raise MixingBuddyError(
                f"{path}: no window of {CHUNK_S:g} s in which {what} can be heard together, so "
                "there is no balance to judge."
            )
        texts = self.answer(
            [[window.clip] for window, _ in asked],
            [_question(window, stem) for window, stem in asked],
            silent_stems=[set(STEMS) - set(window.audible_stems) for window, _ in asked],
            progress=progress,
        )
        answers = [
            WindowAdvice(
                window.start_s, window.duration_s, stem, window.advised_stems, parse_advice(text)
            )
            for (window, stem), text in zip(asked, texts, strict=True)
        ]
        return combine(answers, anchor=anchor, notes=_notes(windows))


class _Silence(LogitsProcessor):
    """Keeps each row of a batch from saying its tokens.

    Args:
        tokens: for each row the ids of tokens that it shall not say.
    """

    def __init__(self, tokens: Sequence[Sequence[int]]):
        self.rows = [row for row, ids in enumerate(tokens) for _ in ids]
        self.ids = [token for ids in tokens for token in ids]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.Tensor:
        """Return scores of shape `(batch_size, vocab_size)` with those tokens ruled out."""
        scores = scores.clone()
        scores[self.rows, self.ids] = -torch.inf
        return scores


def _question(window: Window, anchor: str) -> str:
    return prompts.instruction(
        0, duration_s=window.duration_s, stems=window.audible_stems, anchor=anchor
    )


def _notes(windows: Sequence[Window]) -> list[str]:
    """Say what was done to a song that is shorter than what the model is trained on."""
    duration_s = windows[0].duration_s
    if duration_s == CHUNK_S:
        return []
    return [f"The song is {duration_s:.1f} s long; it was padded with silence to {CHUNK_S:g} s."]
