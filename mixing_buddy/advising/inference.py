"""Listening to a song and advising on its balance."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from mixing_buddy.advice import Advice
from mixing_buddy.advising.applying import add_gains, advised_change_db
from mixing_buddy.advising.asking import Asker
from mixing_buddy.advising.combining import SongAdvice, WindowAdvice
from mixing_buddy.advising.comparing import InferredComparison, SongComparison, compare_songs
from mixing_buddy.advising.inputs import SongFiles, open_song
from mixing_buddy.advising.listening import Hearing, SongResult, advise_many, hear
from mixing_buddy.advising.loading import load_model
from mixing_buddy.advising.ranking import Ranking
from mixing_buddy.advising.windows import Window, count_windows, iter_windows
from mixing_buddy.prompts import Mode

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig

    from mixing_buddy.advising.exporting import Export


class MixingBuddy(Asker):
    """A model and its processor, ready to listen.

    Threads may share one: they decode files side by side, and the model hears their batches in
    turn. Questions about clips, below the level of songs: `Asker`.

    Args:
        model: a ``MixingBuddyForConditionalGeneration`` in evaluation mode.
        processor: its ``MixingBuddyProcessor``.
        batch_size: windows held, and questions asked, at a time.
    """

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
            device: where the model runs, such as "cpu" or "cuda:1"; None or "auto" for the GPU if
                there is one.
            dtype: data type of the weights, such as ``"bfloat16"``; "auto" for that in which they
                were saved.
            quantization: ``"nf4"``, ``"int8"`` or a ``BitsAndBytesConfig`` for the language model's
                layers; needs bitsandbytes.
            batch_size: questions, and windows, heard at a time.

        Raises:
            MixingBuddyError: if there is no such model, device or data type, bitsandbytes is
                missing, or the adapter's base can't be loaded.
        """
        if name_or_path is None:
            name_or_path = str(files("mixing_buddy") / "checkpoints" / "nano")
        model, processor = load_model(
            name_or_path,
            revision=revision,
            device=device,
            dtype=dtype,
            quantization=quantization,
        )
        return cls(model, processor, batch_size=batch_size)

    def advise(
        self,
        path: str | Path | SongFiles,
        *,
        anchor: str | None = None,
        faders_db: Mapping[str, float] | None = None,
        mapping: Sequence[str] = (),
        question: str | None = None,
        with_confidence: bool = True,
        measure: bool = False,
        mode: Mode | None = None,
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
            with_confidence: rank every piece of advice: the song's is then the most probable,
                and says how sure the model is. Without, it is what explains the answers best, in
                less than half the time and less often right.
            measure: measure the loudness of every stem in every window.
            mode: what is heard: "single_mix", or "stems" for a folder's tracks one by one; None
                for the `usual_mode`.
            progress: show a progress bar.

        Returns:
            The advice, with that of each window.

        Raises:
            MixingBuddyError: if the path can't be read, or holds nothing to advise on.
        """
        song = path if isinstance(path, SongFiles) else open_song(path, mapping=mapping)
        mode = mode or self.usual_mode(song)
        windows = iter_windows(song, faders_db=faders_db, measure=measure, mode=mode)
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

    def usual_mode(self, song: SongFiles) -> Mode:
        """What is best heard of a song: its tracks where there are any and the model knows how."""
        can_hear_stems = "stems" in (getattr(self.model.config, "trained_modes", None) or ())
        return "stems" if can_hear_stems and not song.is_mix else "single_mix"

    def advise_windows(
        self,
        windows: Iterable[Window],
        *,
        anchor: str | None = None,
        question: str | None = None,
        name: str = "The song",
        with_confidence: bool = True,
    ) -> SongAdvice:
        """Advise on a song that was cut into windows already.

        Args:
            windows: from `read_windows` or `iter_windows`; a batch of them is held at a time.
            anchor: as for `advise`.
            question: as for `advise`.
            name: what errors call the song.
            with_confidence: as for `advise`.

        Returns:
            The advice, with that of each window.

        Raises:
            MixingBuddyError: if there is nothing to advise on.
        """
        hearing = Hearing(name, anchor=anchor, with_confidence=with_confidence)
        self._hear_out(hearing, windows, question)
        return hearing.finish()

    def advise_and_rank(
        self,
        windows: Iterable[Window],
        *,
        anchor: str | None = None,
        question: str | None = None,
        name: str = "The song",
    ) -> tuple[SongAdvice, Ranking]:
        """Advise with confidence, and say how likely every other piece of advice would have been.

        Args:
            windows: as for `advise_windows`, and all that follows.
            anchor: as for `advise`.
            question: as for `advise`; the ranking is always of the plain question.
            name: what errors call the song.

        Raises:
            MixingBuddyError: if there is nothing to advise on.
        """
        hearing = Hearing(name, anchor=anchor)
        self._hear_out(hearing, windows, question)
        return hearing.finish(), hearing.ranking

    def listen(
        self,
        path: str | Path | SongFiles,
        *,
        anchor: str | None = None,
        faders_db: Mapping[str, float] | None = None,
        question: str | None = None,
        mode: Mode | None = None,
    ) -> Iterator[WindowAdvice]:
        """Yield what is said of each window as soon as its batch has been heard.

        `combine` of `mixing_buddy.advising.combining` makes advice on the song of all of it, the
        same that `advise` gives without confidence.

        Args:
            path: as for `advise`.
            anchor: as for `advise`.
            faders_db: as for `advise`.
            question: as for `advise`.
            mode: as for `advise`.

        Raises:
            MixingBuddyError: as `advise`.
        """
        song = path if isinstance(path, SongFiles) else open_song(path)
        hearing = Hearing(str(song.path), anchor=anchor, with_confidence=False)
        windows = iter_windows(song, faders_db=faders_db, mode=mode or self.usual_mode(song))
        yield from self._hear(hearing, windows, question)
        hearing.finish()

    def advise_many(
        self,
        songs: Iterable[str | Path | SongFiles],
        *,
        anchor: str | None = None,
        faders_db: Mapping[str, float] | None = None,
        question: str | None = None,
        with_confidence: bool = True,
        measure: bool = False,
        mode: Mode | None = None,
    ) -> Iterator[SongResult]:
        """Advise on many songs; windows of several are heard together.

        Args:
            songs: what `advise` takes, each; they may come from a generator.
            anchor: as for `advise`, for all songs.
            faders_db: as for `advise`, for all songs.
            question: as for `advise`, for all songs.
            with_confidence: as for `advise`.
            measure: as for `advise`.
            mode: as for `advise`, for all songs.

        Yields:
            One result for each song, in order; a song that can't be advised on gives an error in
            its result, and the others go on.

        Raises:
            MixingBuddyError: an option is wrong that holds for all songs.
        """
        return advise_many(
            self,
            songs,
            anchor=anchor,
            faders_db=faders_db,
            question=question,
            with_confidence=with_confidence,
            measure=measure,
            mode=mode,
        )

    def compare(
        self,
        mine: str | Path | SongFiles,
        reference: str | Path | SongFiles,
        *,
        anchor: str | None = None,
        progress: bool = False,
    ) -> SongComparison | InferredComparison:
        """Say what leads from my version of a song to the balance of another.

        Args:
            mine: my version, as for `advise`.
            reference: the version to match.
            anchor: the stem whose level is taken as right in both.
            progress: show a progress bar.

        Returns:
            What was measured, where both are folders of tracks (`compare_songs`, which needs no
            model); else the advice on each by itself, with confidence.

        Raises:
            MixingBuddyError: as `compare_songs` and `advise`.
        """
        songs = [
            path if isinstance(path, SongFiles) else open_song(path) for path in (mine, reference)
        ]
        if not any(song.is_mix for song in songs):
            return compare_songs(*songs, anchor=anchor, progress=progress)
        return InferredComparison(
            *(
                self.advise(
                    song,
                    anchor=anchor,
                    measure=True,
                    mode="single_mix",  # Alike, though one of them has tracks.
                    progress=progress,
                )
                for song in songs
            )
        )

    @staticmethod
    def apply(
        path: str | Path | SongFiles,
        advice: Advice,
        out: str | Path,
        *,
        faders_db: Mapping[str, float] | None = None,
    ) -> Export:
        """Write a song's tracks and their mix with advice followed, by the middle of its range.

        Args:
            path: a folder of tracks, or what `open_song` made of it.
            advice: the advice.
            out: folder to make.
            faders_db: gains in dB with which the advice was given.

        Raises:
            MixingBuddyError: as `mixing_buddy.advising.exporting.export_song`.
        """
        from mixing_buddy.advising.exporting import export_song

        song = path if isinstance(path, SongFiles) else open_song(path)
        return export_song(song, add_gains(faders_db or {}, advised_change_db(advice)), out)

    def _hear(
        self, hearing: Hearing, windows: Iterable[Window], question: str | None
    ) -> Iterator[WindowAdvice]:
        """Hear a song batch by batch."""
        rest = iter(windows)
        while group := list(itertools.islice(rest, self.batch_size)):
            yield from hear(self, [(hearing, window) for window in group], question)

    def _hear_out(self, hearing: Hearing, windows: Iterable[Window], question: str | None) -> None:
        """Hear all of a song."""
        for _ in self._hear(hearing, windows, question):
            pass
