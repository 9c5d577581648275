"""Asking a model about clips: its answers, and what it thinks of every answer."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import LogitsProcessorList

from mixing_buddy import prompts
from mixing_buddy.advice import parse_advice
from mixing_buddy.advising.combining import WindowAdvice
from mixing_buddy.advising.prompting import encode_clips, make_inputs
from mixing_buddy.advising.questions import Silence, group_questions, word_question
from mixing_buddy.advising.ranking import Ranker, Ranking, list_candidates, pool
from mixing_buddy.advising.windows import Window
from mixing_buddy.claims import Claim
from mixing_buddy.collation import share_clips
from mixing_buddy.conversations import to_messages
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.songs import SAMPLE_RATE
from mixing_buddy.stems import ADVISED_STEMS, STEMS

if TYPE_CHECKING:
    from mixing_buddy.modeling import MixingBuddyForConditionalGeneration, MixingBuddyProcessor


class Asker:
    """A model and its processor, ready to be asked.

    Threads may share one: the model hears their batches in turn.

    Args:
        model: the model, in evaluation mode.
        processor: its processor.
        batch_size: questions asked at a time.
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
        # Tokenizer and processor change their own settings while they work, and so does `rank`.
        self._turn = threading.Lock()

    @torch.no_grad()  # not inference_mode: training goes on after validation by answers
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
            with self._turn:
                inputs = self._prompt(samples[batch], instructions[batch])
                answers += self._generate(inputs, silent_stems[batch])
        return answers

    def rank(
        self,
        samples: Sequence[Sequence[np.ndarray]],
        anchors: Sequence[str | None],
        *,
        stems: Sequence[Sequence[str]] | None = None,
        mode: str = "single_mix",
        prompt_categories: Sequence[str] | None = None,
        claims: Sequence[Claim | None] | None = None,
        instructions: Sequence[str] | None = None,
        progress: bool = False,
    ) -> list[Ranking]:
        """Say how likely each piece of advice is, rather than one of them.

        Args:
            samples: for each question its clips, mono at 24 kHz, of shape `(num_samples,)`.
            anchors: for each the stem whose level is taken as right; None asks with each stem that
                sounds in turn, and pools what comes of it.
            stems: for each the stems that sound; all four by default.
            mode: what the clips are, "single_mix" or "stems".
            prompt_categories: for each the kind of prompt, "advice_seeking" by default.
            claims: for each what a description claims, None in other prompts.
            instructions: the questions; by default the first template of each kind. They name the
                anchor, so they can only be given with it.
            progress: show a progress bar.

        Returns:
            For each question a ranking of up to 8 flaws and "balanced", or of up to 12 flaws where
            it names no anchor.

        Raises:
            MixingBuddyError: if fewer than two stems that can be advised on sound, if instructions
                or tracks come without an anchor, or if an argument is unknown.
        """
        stems = stems or [STEMS] * len(samples)
        prompt_categories = prompt_categories or ["advice_seeking"] * len(samples)
        claims = claims or [None] * len(samples)
        if None in anchors and (instructions is not None or mode != "single_mix"):
            raise MixingBuddyError(
                "Instructions and tracks depend on the anchor: name one for each sample, or leave "
                "the instructions out and give mixes."
            )
        asked = [
            (index, each)
            for index, anchor in enumerate(anchors)
            for each in ([stem for stem in ADVISED_STEMS if stem in stems[index]])
            if anchor in (None, each)
        ]
        kinds = [
            {
                "anchor": anchor,
                "stems": stems[index],
                "mode": mode,
                "prompt_category": prompt_categories[index],
                "claim": claims[index],
            }
            for index, anchor in asked
        ]
        candidates = [list_candidates(**kind) for kind in kinds]
        texts = [
            instructions[index]
            if instructions is not None
            else prompts.instruction(0, duration_s=len(samples[index][0]) / SAMPLE_RATE, **kind)
            for (index, _), kind in zip(asked, kinds, strict=True)
        ]
        ranker = Ranker(self.model, self.processor.tokenizer)
        found: list[list[Ranking]] = [[] for _ in samples]
        starts = range(0, len(asked), self.batch_size)
        for start in tqdm(starts, desc="Ranking", unit="batch", disable=not progress):
            batch = slice(start, start + self.batch_size)
            clips = [samples[index] for index, _ in asked[batch]]
            with self._turn:
                rankings = ranker.rank(self._prompt(clips, texts[batch]), candidates[batch])
            for (index, _), ranking in zip(asked[batch], rankings, strict=True):
                found[index].append(ranking)
        if unasked := [index for index, each in enumerate(found) if not each]:
            raise MixingBuddyError(
                f"Sample {unasked[0]}: the anchor {anchors[unasked[0]]} is not among the stems of "
                f"{', '.join(ADVISED_STEMS)} that sound in it."
            )
        return [each[0] if len(each) == 1 else pool(each) for each in found]

    @torch.no_grad()
    def ask(
        self,
        asked: Sequence[tuple[Window, str]],
        *,
        question: str | None = None,
        with_ranking: bool = False,
    ) -> list[tuple[WindowAdvice, Ranking | None]]:
        """Ask about windows; each is encoded once, however many questions there are about it.

        Args:
            asked: windows, those of one beside one another, each with the stem to take as right.
            question: what the user asks or says of the song; by default the plain question.
            with_ranking: rank every piece of advice, too, by the plain question.

        Returns:
            For each the answer and what it says, and the ranking or None.
        """
        found: list[tuple[WindowAdvice, Ranking | None]] = []
        ranker = Ranker(self.model, self.processor.tokenizer)
        for windows, which, anchors in group_questions(asked, self.batch_size):
            heard = [windows[index] for index in which]
            samples = [window.heard for window in windows]
            clips_heard = [(index, name) for index, each in enumerate(samples) for name in each]
            number = {clip: place for place, clip in enumerate(clips_heard)}
            places = [
                [number[index, name] for name in windows[index].names_heard(anchor)]
                for index, anchor in zip(which, anchors, strict=True)
            ]
            texts = [word_question(*pair, question) for pair in zip(heard, anchors, strict=True)]
            silent = [set(STEMS) - set(window.audible_stems) for window in heard]
            rankings: Sequence[Ranking | None] = [None] * len(heard)
            with self._turn:
                clips = encode_clips(
                    self.model, self.processor, [list(sample.values()) for sample in samples]
                )
                inputs = make_inputs(self.processor, clips, places, texts)
                answers = self._generate(inputs, silent)
                if with_ranking:
                    if question:
                        plain = [word_question(*pair) for pair in zip(heard, anchors, strict=True)]
                        inputs = make_inputs(self.processor, clips, places, plain)
                    candidates = [
                        list_candidates(window.audible_stems, anchor, mode=window.mode)
                        for window, anchor in zip(heard, anchors, strict=True)
                    ]
                    rankings = ranker.rank(inputs, candidates)
            for window, anchor, text, ranking in zip(
                heard, anchors, answers, rankings, strict=True
            ):
                stems = window.advised_stems
                advice = parse_advice(text)
                where = WindowAdvice(window.start_s, window.duration_s, anchor, stems, advice)
                found.append((where, ranking))
        return found

    def _prompt(self, samples: Sequence[Sequence[np.ndarray]], instructions: Sequence[str]):
        """Make model input that ends where the answers start."""
        inputs = self.processor.apply_chat_template(
            list(map(to_messages, samples, instructions)),
            tokenize=True,
            return_dict=True,
            add_generation_prompt=True,
            processor_kwargs={"padding_side": "left"},
        )
        return {name: each.to(self.model.device) for name, each in share_clips(inputs).items()}

    def _generate(self, inputs, silent_stems: Sequence[Iterable[str]]) -> list[str]:
        """Answer by greedy decoding, without naming the stems that don't sound."""
        tokens = self.model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=96,
            logits_processor=LogitsProcessorList([Silence(list(map(self._silence, silent_stems)))]),
        )
        tokens = tokens[:, inputs["input_ids"].shape[1] :]
        texts = self.processor.batch_decode(tokens, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _silence(self, stems: Iterable[str]) -> list[int]:
        """List the tokens that begin the name of one of the stems."""
        words = [form + stem for stem in stems for form in ("", " ")]
        words += [word.removesuffix("s") for word in words if word.endswith(("vocals", "drums"))]
        return [self.processor.tokenizer.encode(word)[0] for word in words]
