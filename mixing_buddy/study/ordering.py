"""What a participant gets, in which order and under which labels, drawn from a stored seed."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase

import numpy as np

from mixing_buddy.study.material import Study


@dataclass(frozen=True)
class Page:
    """One answer to be rated.

    Args:
        item: name of the item.
        system: who answered; never shown.
        label: the letter that is shown for it.
    """

    item: str
    system: str
    label: str


@dataclass(frozen=True)
class Trial:
    """One listening trial.

    Args:
        pair: name of the pair.
        level_db: difference in it, in dB.
        x: which of the two X is, "a" or "b".
    """

    pair: str
    level_db: float
    x: str


def draw_pages(study: Study, participant: int, seed: int) -> list[Page]:
    """Draw the pages of a rater: items in random order, and systems in random order within each.

    Letters follow the order of showing and are dealt anew for every item, so that "System A" is
    nobody in particular and no name is made by earlier answers. Where participants rate a part of
    the items, part follows part in turn, so that every item is rated almost equally often.

    Args:
        study: the study.
        participant: number of the participant.
        seed: of this participant; with the number it says everything.
    """
    size = study.items_per_participant
    first = participant * size
    items = [study.items[(first + step) % len(study.items)] for step in range(size)]
    rng = np.random.default_rng(seed)
    pages = []
    for place in rng.permutation(len(items)):
        systems = rng.permutation(len(study.systems))
        for rank, system in enumerate(systems):
            label = ascii_uppercase[rank]
            pages.append(Page(items[place].name, study.systems[system], label))
    return pages


def draw_codings(study: Study, seed: int) -> list[Page]:
    """Draw the pages of an annotator: all answers in random order, without a letter."""
    everything = [(item.name, system) for item in study.items for system in study.systems]
    order = np.random.default_rng(seed).permutation(len(everything))
    return [Page(*everything[place], label="") for place in order]


def draw_trials(study: Study, seed: int) -> list[Trial]:
    """Draw the listening trials: large differences first, pairs in random order, X at random."""
    rng = np.random.default_rng([seed, 1])
    trials = []
    for level_db in sorted({pair.level_db for pair in study.abx_pairs}, reverse=True):
        pairs = [pair for pair in study.abx_pairs if pair.level_db == level_db]
        for place in rng.permutation(len(pairs)):
            x = "ab"[int(rng.integers(2))]
            trials.append(Trial(pairs[place].name, level_db, x))
    return trials
