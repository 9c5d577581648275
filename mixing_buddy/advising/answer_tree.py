"""Answers as a tree of tokens, so that words which open several of them are scored once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import logsumexp

from mixing_buddy.errors import MixingBuddyError


@dataclass(frozen=True)
class AnswerTree:
    """Token sequences with common openings as a tree, cut where only one candidate is left.

    Args:
        tokens: token of each node, `(num_nodes,)` int64; parents stand before their children.
        parents: index of each node's parent, -1 for the prompt, `(num_nodes,)` int64.
        decided: the candidate that each node decides on, -1 where several are left, `(num_nodes,)`.
    """

    tokens: np.ndarray
    parents: np.ndarray
    decided: np.ndarray

    @classmethod
    def build(cls, sequences: Sequence[Sequence[Sequence[int]]]) -> AnswerTree:
        """Build the tree of all token sequences of every candidate.

        Raises:
            MixingBuddyError: two candidates share a text, so that it decides nothing.
        """
        left: dict[tuple[int, ...], set[int]] = {}
        for candidate, texts in enumerate(sequences):
            for text in texts:
                for end in range(len(text) + 1):
                    left.setdefault(tuple(text[:end]), set()).add(candidate)
        nodes = sorted(
            (prefix for prefix in left if prefix and len(left[prefix[:-1]]) > 1), key=len
        )
        # Undecided nodes first: only they are run.
        nodes.sort(key=lambda prefix: len(left[prefix]) == 1)
        place = {prefix: index for index, prefix in enumerate(nodes)}
        for candidate, texts in enumerate(sequences):
            for text in texts:
                if len(left[tuple(text)]) > 1:
                    raise MixingBuddyError(
                        f"Candidate {candidate} has a text with which another one's begins: the "
                        "templates must tell all categories apart."
                    )
        return cls(
            np.array([prefix[-1] for prefix in nodes]),
            np.array([place.get(prefix[:-1], -1) for prefix in nodes]),
            np.array([next(iter(left[p])) if len(left[p]) == 1 else -1 for p in nodes]),
        )

    @cached_property
    def num_run(self) -> int:
        """Number of nodes that are run through the model: those that decide nothing yet."""
        return int((self.decided < 0).sum())

    @cached_property
    def paths(self) -> np.ndarray:
        """Which run nodes each run node sees: its branch, itself included; `(num_run, num_run)`."""
        seen = np.eye(self.num_run, dtype=bool)
        for node in range(self.num_run):
            if self.parents[node] >= 0:
                seen[node] |= seen[self.parents[node]]
        return seen

    def sum_up(self, log_probs: np.ndarray) -> np.ndarray:
        """Sum the probabilities of branches.

        Args:
            log_probs: log-probability of each node after its parent, `(num_nodes,)`.

        Returns:
            Log-probability of each candidate, `(num_candidates,)`.
        """
        totals = np.asarray(log_probs, dtype=np.float64).copy()
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                totals[node] += totals[parent]
        return np.array(
            [logsumexp(totals[self.decided == each]) for each in range(self.decided.max() + 1)]
        )
