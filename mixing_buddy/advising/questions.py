"""What a model is asked about the windows of a song, and what it may not say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from transformers import LogitsProcessor

from mixing_buddy import prompts
from mixing_buddy.advising.windows import Window
from mixing_buddy.chunks import CHUNK_S
from mixing_buddy.template_pools import clip_words


class Silence(LogitsProcessor):
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


def list_questions(
    windows: Sequence[Window], anchor: str | None = None
) -> list[tuple[Window, str]]:
    """List what can be asked of a song: windows with two stems to judge, and an anchor for each.

    Args:
        windows: from `read_windows`.
        anchor: the only stem to take as right; None for each that sounds in turn.
    """
    return [
        (window, stem)
        for window in windows
        for stem in window.advised_stems
        if anchor in (None, stem) and len(window.advised_stems) > 1
    ]


def group_questions(
    asked: Sequence[tuple[Window, str]], size: int
) -> Iterator[tuple[list[Window], list[int], list[str]]]:
    """Cut questions into batches, those about one window never apart.

    Args:
        asked: windows, those of one beside one another, each with the anchor to ask with.
        size: questions of a batch, more only where there are more about one window.

    Yields:
        The distinct windows; for each question which of them it is about; and its anchor.
    """
    windows: list[Window] = []
    places: list[int] = []
    anchors: list[str] = []
    for _, pairs in groupby(asked, key=lambda pair: id(pair[0])):
        pairs = list(pairs)
        if windows and len(places) + len(pairs) > size:
            yield windows, places, anchors
            windows, places, anchors = [], [], []
        places += [len(windows)] * len(pairs)
        anchors += [anchor for _, anchor in pairs]
        windows.append(pairs[0][0])
    if windows:
        yield windows, places, anchors


def word_question(window: Window, anchor: str, words: str | None = None) -> str:
    """Word the question to the model about a window.

    Args:
        window: what is heard.
        anchor: the stem whose level is taken as right.
        words: what the user asks in their own words; None for the plain question.
    """
    if words:
        # The model is told what it hears in the words that open the descriptions it learnt from.
        clip = clip_words(window.duration_s, window.audible_stems, anchor)
        mix = (
            f"mix, track by track ({clip['tracks']})"
            if window.tracks
            else f"mix of {clip['stems']}"
        )
        return f"Here is {clip['a_duration']} {mix}, with the {anchor} as anchor. {words}"
    return prompts.instruction(
        0,
        duration_s=window.duration_s,
        stems=window.audible_stems,
        anchor=anchor,
        mode=window.mode,
    )


def list_notes(windows: Sequence[Window]) -> list[str]:
    """Say what was done to a song that is shorter than what the model is trained on."""
    duration_s = windows[0].duration_s
    if duration_s == CHUNK_S:
        return []
    return [f"The song is {duration_s:.1f} s long; it was padded with silence to {CHUNK_S:g} s."]
