"""What the text of a row gives away, to whoever does not listen.

The anchor is never the target, and a prompt that describes the mix is right more often than not.
`text_only_accuracy` says what each part of the text is worth; `ClaimReader` turns a description
into evidence, for listeners that read as well.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mixing_buddy.evaluation.verdicts import VERDICTS, true_verdicts
from mixing_buddy.flaws import FLAWS
from mixing_buddy.stems import ADVISED_STEMS

Row = Mapping[str, Any]

#: Features from coarse to fine.
FEATURES: dict[str, Callable[[Row], tuple]] = {
    "nothing": lambda row: (),
    "anchor": lambda row: (row["anchor"],),
    "anchor, kind of prompt": lambda row: (row["anchor"], _visible_kind(row)),
    "anchor, kind of prompt, claim": lambda row: (
        row["anchor"],
        _visible_kind(row),
        row.get("claim_stem"),
        row.get("claim_direction"),
    ),
    "anchor, instruction": lambda row: (row["anchor"], row["instruction"]),
}
#: What is right for a row: on a balanced mix, that nothing is to be moved.
LABELS: dict[str, Callable[[Row], Any]] = {
    "joint": lambda row: (_stem(row), row["direction"]),
    "stem": lambda row: _stem(row),
    "direction": lambda row: row["direction"],
}


def _stem(row: Row) -> str:
    return "none" if row["direction"] == "none" else row["target"]


def _visible_kind(row: Row) -> str:
    # Whether a description is correct can't be seen in the text.
    return row["prompt_category"] if row.get("claim_stem") is None else "description"


def text_only_accuracy(
    train: Sequence[Row], test: Sequence[Row]
) -> dict[str, dict[str, float | None]]:
    """Accuracy of the best guess from text, by features.

    Learns on one split the most frequent answer for each value of the features, and guesses it on
    another. Stem, direction and joint are guessed apart, so each figure is the most that its
    features allow. A value not seen before falls back to the features above it.

    Args:
        train: rows to learn from; labelled columns as names.
        test: rows to guess.

    Returns:
        For every set of features, and for "claim believed" (over the descriptions alone), the
        shares of "joint", "stem" and "direction" guessed right; None over no rows.
    """
    report: dict[str, dict[str, float | None]] = {name: {} for name in FEATURES}
    for label, right_answer in LABELS.items():
        guesses: dict[tuple, Any] = {}
        for level, (name, features) in enumerate(FEATURES.items()):
            counts: dict[tuple, Counter] = defaultdict(Counter)
            for row in train:
                counts[features(row)][right_answer(row)] += 1
            for key, counter in counts.items():
                # The most frequent; of equals the first by name, not by order of rows.
                guesses[level, key] = min(counter, key=lambda each: (-counter[each], str(each)))
            hits = [_guess(row, level, guesses) == right_answer(row) for row in test]
            report[name][label] = _share(hits)
    described = [row for row in test if row.get("claim_stem") is not None]
    believed = [{"target": r["claim_stem"], "direction": r["claim_direction"]} for r in described]
    report["claim believed"] = {
        label: _share([answer(a) == answer(b) for a, b in zip(described, believed, strict=True)])
        for label, answer in LABELS.items()
    }
    return report


def _guess(row: Row, level: int, guesses: Mapping[tuple, Any]) -> Any:
    """The guess of the finest features that were seen before."""
    for coarser in range(level, -1, -1):
        key = (coarser, list(FEATURES.values())[coarser](row))
        if key in guesses:
            return guesses[key]
    return None


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None


class ClaimReader:
    """How probable a row's text is under each verdict, by what descriptions claim.

    A claim is the truth, the right stem the wrong way, another stem the same way, or another stem
    another way; on a balanced mix it is simply wrong. How often each comes is learnt.
    """

    def fit(self, rows: Sequence[Row]) -> ClaimReader:
        """Count what claims say of training rows."""
        counts: dict[bool, Counter] = {False: Counter(), True: Counter()}
        for row, verdict in zip(rows, true_verdicts(rows), strict=True):
            relation = _relation(row, VERDICTS[verdict])
            counts[verdict != 0][relation] += 1
        self._counts = counts
        return self

    def likelihoods(self, rows: Sequence[Row]) -> np.ndarray:
        """Probability of each row's text under each verdict: `(num_rows, len(VERDICTS))`."""
        return np.array(
            [[self._likelihood(row, verdict) for verdict in VERDICTS] for row in rows]
        ).reshape(len(rows), len(VERDICTS))

    def _likelihood(self, row: Row, verdict) -> float:
        relation = _relation(row, verdict)
        counts = self._counts[verdict is not None]
        # Half a row more than was counted: what was never seen is not impossible.
        share = (counts[relation] + 0.5) / (counts.total() + 0.5)
        # On a balanced mix, any of the other stems may be claimed off, either way.
        is_claim = row.get("claim_stem") is not None
        return share / (2 * (len(ADVISED_STEMS) - 1)) if is_claim and verdict is None else share


def _relation(row: Row, verdict) -> str:
    """How a row's text relates to a verdict: the kind of prompt, or what its claim gets right."""
    if row.get("claim_stem") is None:
        return row["prompt_category"]
    if verdict is None:
        return "claim"
    same_stem = row["claim_stem"] == verdict[0]
    same_way = row["claim_direction"] == FLAWS[verdict[1]].direction
    return f"claim, {'same' if same_stem else 'other'} stem, {'same' if same_way else 'other'} way"
