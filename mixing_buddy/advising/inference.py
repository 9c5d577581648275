"""Listening to a song and advising on its balance."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import BitsAndBytesConfig, LogitsProcessorList

from mixing_buddy import prompts
from mixing_buddy.advice import parse_advice
from mixing_buddy.advising.combining import SongAdvice, WindowAdvice, WindowLevels, combine
from mixing_buddy.advising.confidence import confidence_in, pool_song, rank_questions
from mixing_buddy.advising.inputs import SongFiles, open_song
from mixing_buddy.advising.questions import Silence, list_notes, list_questions, word_question
from mixing_buddy.advising.ranking import Ranker, Ranking, list_candidates, pool
from mixing_buddy.advising.windows import Window, count_windows, iter_windows
from mixing_buddy.chunks import CHUNK_S
from mixing_buddy.claims import Claim
from mixing_buddy.conversations import to_messages
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.model_names import check_model_name
from mixing_buddy.modeling import MixingBuddyForConditionalGeneration, MixingBuddyProcessor
from mixing_buddy.modeling.assembly_mixing_buddy import quantization_settings
from mixing_buddy.songs import SAMPLE_RATE
from mixing_buddy.stems import ADVISED_STEMS, STEMS
from mixing_buddy.training.checkpoints import is_adapter, load_adapter


class MixingBuddy:
    """A model and its processor, ready to listen.

    Threads may share one: they decode files side by side, and the model hears their batches in
    turn.

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
        # Tokenizer and processor change their own settings while they work, and so does `rank`.
        self._turn = threading.Lock()

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path | None = None,
        *,
        revision: str | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "auto",
        quantization: str | BitsAndBytesConfig | None = None,
        batch_size: int = 16,
    ) -> MixingBuddy:
        """Load a model, or an adapter on the base that it names.

        Args:
            name_or_path: folder or Hub id; None for nano, which comes with the package.
            revision: commit of the Hub repository.
            device: where the model runs; None for the GPU if there is one.
            dtype: data type of the weights, such as ``"bfloat16"``.
            quantization: ``"nf4"``, ``"int8"`` or a ``BitsAndBytesConfig`` for the language model's
                layers; needs bitsandbytes.
            batch_size: windows heard at a time.

        Raises:
            MixingBuddyError: if there is no such model, or the adapter's base can't be loaded.
        """
        if name_or_path is None:
            name_or_path = str(files("mixing_buddy") / "checkpoints" / "nano")
        check_model_name(name_or_path)
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            model, processor = _load(name_or_path, revision, device, dtype, quantization)
        except OSError as error:
            # What transformers says of a missing repository or a broken network is several lines.
            raise MixingBuddyError(
                f"{name_or_path} can't be loaded: {str(error).strip().splitlines()[0]}"
            ) from error
        if quantization is None:
            model.to(device)
        return cls(model.eval(), processor, batch_size=batch_size)

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
                silenced = [self._silence(stems) for stems in silent_stems[batch]]
                tokens = self.model.generate(
                    **inputs,
                    do_sample=False,
                    max_new_tokens=96,
                    logits_processor=LogitsProcessorList([Silence(silenced)]),
                )
                tokens = tokens[:, inputs["input_ids"].shape[1] :]
                texts = self.processor.batch_decode(tokens, skip_special_tokens=True)
            answers += [text.strip() for text in texts]
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

    def _prompt(self, samples: Sequence[Sequence[np.ndarray]], instructions: Sequence[str]):
        """Make model input that ends where the answers start."""
        return self.processor.apply_chat_template(
            list(map(to_messages, samples, instructions)),
            tokenize=True,
            return_dict=True,
            add_generation_prompt=True,
            processor_kwargs={"padding_side": "left"},
        ).to(self.model.device)

    def _silence(self, stems: Sequence[str]) -> list[int]:
        """List the tokens that begin the name of one of the stems."""
        words = [form + stem for stem in stems for form in ("", " ")]
        words += [word.removesuffix("s") for word in words if word.endswith(("vocals", "drums"))]
        return [self.processor.tokenizer.encode(word)[0] for word in words]

    def advise(
        self,
        path: str | Path | SongFiles,
        *,
        anchor: str | None = None,
        faders_db: Mapping[str, float] | None = None,
        mapping: Sequence[str] = (),
        question: str | None = None,
        with_confidence: bool = False,
        measure: bool = False,
        progress: bool = False,
    ) -> SongAdvice:
        """Advise on a song of any length, in constant memory.

        Args:
            path: a mix (audio file), a folder of tracks, which are summed as they stand, or what
                `open_song` made of either.
            anchor: the stem whose level is taken as right; None asks with each in turn.
            faders_db: gains in dB to move a folder's stems by before listening.
            mapping: corrections of which file is which stem, as for `open_song`.
            question: what the user asks or says of the song, in their own words; by default the
                plain question what to change.
            with_confidence: rank every piece of advice, too, which takes more than twice as long,
                and say how sure the model is.
            measure: measure the loudness of every stem in every window.
            progress: show a progress bar.

        Returns:
            The advice, with that of each window.

        Raises:
            MixingBuddyError: if the path can't be read, or holds nothing to advise on.
        """
        song = path if isinstance(path, SongFiles) else open_song(path, mapping=mapping)
        windows = iter_windows(song, faders_db=faders_db, measure=measure)
        bar = tqdm(
            windows,
            desc="Listening",
            unit="window",
            total=count_windows(song),
            disable=not progress,
        )
        advice = self.advise_windows(
            bar,
            anchor=anchor,
            question=question,
            name=str(song.path),
            with_confidence=with_confidence,
        )
        return replace(advice, notes=(*song.notes, *advice.notes))

    def advise_windows(
        self,
        windows: Iterable[Window],
        *,
        anchor: str | None = None,
        question: str | None = None,
        name: str = "The song",
        with_confidence: bool = False,
        progress: bool = False,
    ) -> SongAdvice:
        """Advise on a song that was cut into windows already.

        Args:
            windows: from `read_windows` or `iter_windows`; a batch of them is held at a time.
            anchor: as for `advise`.
            question: as for `advise`.
            name: what errors call the song.
            with_confidence: as for `advise`.
            progress: show a progress bar.

        Returns:
            The advice, with that of each window.

        Raises:
            MixingBuddyError: if there is nothing to advise on.
        """
        if anchor is not None and anchor not in ADVISED_STEMS:
            raise MixingBuddyError(
                f"The anchor is {anchor!r}: choose one of {', '.join(ADVISED_STEMS)}."
            )
        answers: list[WindowAdvice] = []
        rankings: list[Ranking] = []
        levels: list[WindowLevels] = []
        notes: list[str] = []
        rest = iter(tqdm(windows, desc="Listening", unit="window", disable=not progress))
        while group := list(itertools.islice(rest, self.batch_size)):
            notes = notes or list_notes(group)
            levels += [WindowLevels(w.start_s, w.duration_s, w.levels_lufs) for w in group]
            asked = list_questions(group, anchor)
            answers += self._answer_windows(asked, question)
            if with_confidence and asked:
                rankings += rank_questions(self, asked)
        if not answers:
            what = f"{anchor} and another stem" if anchor else f"two of {', '.join(ADVISED_STEMS)}"
            raise MixingBuddyError(
                f"{name}: no window of {CHUNK_S:g} s in which {what} can be heard together, so "
                "there is no balance to judge."
            )
        advice = combine(answers, anchor=anchor, notes=notes)
        if any(each.lufs for each in levels):
            advice = replace(advice, levels=tuple(levels))
        if not with_confidence:
            return advice
        ranking = pool_song(rankings)
        return replace(
            advice,
            confidence=confidence_in(ranking, advice),
            balanced_probability=ranking.balanced_probability,
        )

    def _answer_windows(
        self, asked: Sequence[tuple[Window, str]], question: str | None
    ) -> list[WindowAdvice]:
        """Answer the questions of some windows."""
        texts = self.answer(
            [[window.clip] for window, _ in asked],
            [word_question(window, stem, question) for window, stem in asked],
            silent_stems=[set(STEMS) - set(window.audible_stems) for window, _ in asked],
        )
        return [
            WindowAdvice(
                window.start_s, window.duration_s, stem, window.advised_stems, parse_advice(text)
            )
            for (window, stem), text in zip(asked, texts, strict=True)
        ]


def _load(name_or_path, revision, device, dtype, quantization):
    """Load a whole model, or an adapter with its base; arguments as in `from_pretrained`."""
    # Quantised weights are made on the device where they stay.
    device_map = None if quantization is None else {"": device}
    if is_adapter(name_or_path, revision=revision):
        adapted, processor = load_adapter(
            name_or_path,
            revision=revision,
            dtype=dtype,
            quantization=quantization,
            device_map=device_map,
        )
        # Merged into whole weights an adapter costs no time; quantised ones can't take it in.
        model = adapted.merge_and_unload() if quantization is None else adapted.get_base_model()
        return model, processor
    model = MixingBuddyForConditionalGeneration.from_pretrained(
        name_or_path,
        revision=revision,
        dtype=dtype,
        quantization_config=quantization_settings(quantization),
        device_map=device_map,
    )
    return model, MixingBuddyProcessor.from_pretrained(name_or_path, revision=revision)
