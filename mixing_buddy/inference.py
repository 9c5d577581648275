"""Listening to a song and advising on its balance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from mixing_buddy import prompts
from mixing_buddy.advice import Advice, parse_advice
from mixing_buddy.chunks import CHUNK_S, CHUNK_SAMPLES
from mixing_buddy.conversations import to_messages
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.flaws import Direction
from mixing_buddy.modeling import MixingBuddyForConditionalGeneration, MixingBuddyProcessor
from mixing_buddy.stems import ADVISED_STEMS
from mixing_buddy.windows import Window, read_windows


@dataclass(frozen=True)
class WindowAdvice:
    """What the model said of one window against one anchor.

    Args:
        start_s: start of the window in the song, in seconds.
        duration_s: length of the music in the window, in seconds.
        anchor: the stem that was taken as right.
        advice: the answer and what it says.
    """

    start_s: float
    duration_s: float
    anchor: str
    advice: Advice


@dataclass(frozen=True)
class SongAdvice(Advice):
    """Advice on a whole song: the answer that most windows gave.

    Args:
        windows: the answers of every window and anchor.
        num_agreeing: how many of them name the same stem and direction.
        notes: what the listener should know about how the song was heard.
    """

    windows: tuple[WindowAdvice, ...] = ()
    num_agreeing: int = 0
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        windows = [{**asdict(w), "advice": w.advice.to_dict()} for w in self.windows]
        return {**super().to_dict(), "windows": windows, "notes": list(self.notes)}


def combine(windows: Sequence[WindowAdvice], notes: Sequence[str] = ()) -> SongAdvice:
    """Combine the answers on a song's windows into one.

    Each answer is a vote for a stem and a direction, or for a balanced mix. Most votes win; where
    two verdicts have equally many, the mix is called balanced, since moving a fader needs a reason.
    The range is the one named most often by those who voted for the verdict, and the text is the
    first of theirs that names it.

    Args:
        windows: answers, one at least.
        notes: passed on to the result.
    """
    understood = [w for w in windows if w.advice.direction is not None]
    if not understood:
        return SongAdvice(windows[0].advice.text, windows=tuple(windows), notes=tuple(notes))
    votes = Counter((w.advice.stem, w.advice.direction) for w in understood)
    most = max(votes.values())
    winners = [verdict for verdict, count in votes.items() if count == most]
    verdict = winners[0] if len(winners) == 1 else (None, Direction.NONE)
    agreeing = [w.advice for w in understood if (w.advice.stem, w.advice.direction) == verdict]
    if not agreeing:
        text = "The windows disagree about what is off: no fader moves on this evidence."
        agreeing = [Advice(text, direction=Direction.NONE)]
    (min_db, max_db), _ = Counter((a.min_db, a.max_db) for a in agreeing).most_common(1)[0]
    text = next(a.text for a in agreeing if (a.min_db, a.max_db) == (min_db, max_db))
    return SongAdvice(
        text,
        *verdict,
        min_db,
        max_db,
        windows=tuple(windows),
        num_agreeing=votes[verdict],
        notes=tuple(notes),
    )


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
        progress: bool = False,
    ) -> list[str]:
        """Answer questions about clips, by greedy decoding.

        Args:
            samples: for each question its clips, mono at 24 kHz, of shape `(num_samples,)`.
            instructions: the questions, as many as samples.
            progress: show a progress bar.

        Returns:
            The answers.
        """
        answers: list[str] = []
        starts = range(0, len(samples), self.batch_size)
        for start in tqdm(starts, desc="Listening", unit="batch", disable=not progress):
            batch = slice(start, start + self.batch_size)
            inputs = self.processor.apply_chat_template(
                [
                    to_messages(c, i)
                    for c, i in zip(samples[batch], instructions[batch], strict=True)
                ],
                tokenize=True,
                return_dict=True,
                add_generation_prompt=True,
                processor_kwargs={"padding_side": "left"},
            ).to(self.model.device)
            tokens = self.model.generate(**inputs, do_sample=False, max_new_tokens=96)
            tokens = tokens[:, inputs["input_ids"].shape[1] :]
            texts = self.processor.batch_decode(tokens, skip_special_tokens=True)
            answers += [text.strip() for text in texts]
        return answers

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
            progress=progress,
        )
        answers = [
            WindowAdvice(window.start_s, window.duration_s, stem, parse_advice(text))
            for (window, stem), text in zip(asked, texts, strict=True)
        ]
        return combine(answers, _notes(windows))


def _question(window: Window, anchor: str) -> str:
    return prompts.instruction(
        0, duration_s=window.duration_s, stems=window.audible_stems, anchor=anchor
    )


def _notes(windows: Sequence[Window]) -> list[str]:
    if windows[0].duration_s * len(windows) < CHUNK_S:
        return [
            f"The song is {windows[0].duration_s:.1f} s long and was padded with silence to "
            f"{CHUNK_S:g} s, the length that the model is trained on ({CHUNK_SAMPLES} samples)."
        ]
    return []
