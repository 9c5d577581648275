"""Which words of an answer decide: those that another answer of the same template would change.

An answer has some thirty tokens, and two or three of them say what is heard; which template was
drawn, and the words that follow from it, drown them in the mean over tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import takewhile
from typing import Any

from mixing_buddy import prompts
from mixing_buddy.advising.ranking import list_candidates
from mixing_buddy.claims import Claim
from mixing_buddy.flaws import Category, Direction
from mixing_buddy.schema import DIFFERENTIAL
from mixing_buddy.stems import ADVISED_STEMS, STEMS

#: Sizes in dB that stand for all others, and how much nearer ones differ.
_OTHER_SIZES_DB, _STEPS_DB = (2.0, 5.0, 8.0, 11.0), (-0.5, 0.5)


class DecisionMarker:
    """Marks the tokens of answers that decide.

    Args:
        tokenizer: the language model's tokenizer.
    """

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, row: Mapping[str, Any]) -> list[bool]:
        """Mark the tokens of a row's answer.

        Args:
            row: a row of the dataset, with `response` and what it was made from.

        Returns:
            For each token of the response whether some other answer first differs from it there.
        """
        own = self.tokenizer.encode(row["response"], add_special_tokens=False)
        marks = [False] * len(own)
        for other in alternatives(row):
            tokens = self.tokenizer.encode(other, add_special_tokens=False)
            for place, (token, other_token) in enumerate(zip(own, tokens, strict=False)):
                if token != other_token:
                    marks[place] = True
                    break
        return marks


def alternatives(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the answer would be, in the same template, if something else were heard.

    Nothing is yielded for a row that names no anchor, nor for a differential row whose answer no
    template gives.
    """
    if row["mode"] == DIFFERENTIAL:
        yield from _other_changes(row)
        return
    if row["anchor"] is None:
        return
    claim = None
    if row.get("claim_stem") is not None:
        claim = (row["claim_stem"], str(row["claim_direction"]))
    texts = _texts(row["mode"], row["anchor"], str(row["prompt_category"]), claim)
    category = Category(row["category"])
    heard = (category, None if category is Category.NO_ERROR else row["target"])
    # A reason may stand in the answer as well, so no template gives it in full.
    index = max(
        range(prompts.NUM_RESPONSES),
        key=lambda index: _num_alike(row["response"], texts[heard][index]),
    )
    yield from (of_flaw[index] for flaw, of_flaw in texts.items() if flaw != heard)


def _num_alike(text: str, other: str) -> int:
    """Count the letters with which both texts begin."""
    pairs = zip(text, other, strict=False)
    return sum(1 for _ in takewhile(lambda letters: letters[0] == letters[1], pairs))


@lru_cache(maxsize=1024)
def _texts(
    mode: str, anchor: str, prompt_category: str, claim: tuple[str, str] | None
) -> dict[tuple[Category, str | None], tuple[str, ...]]:
    """Return for each flaw its answers, one for each template."""
    candidates = list_candidates(
        ADVISED_STEMS,
        anchor,
        mode=mode,
        prompt_category=prompt_category,
        claim=None if claim is None else Claim(claim[0], Direction(claim[1])),
    )
    return {(each.category, each.stem): each.texts for each in candidates}


def _other_changes(row: Mapping[str, Any]) -> Iterator[str]:
    anchor = row["anchor"]
    changes_db = {
        stem: prompts.round_change_db(change_db)
        for stem, change_db in row["needed_change_db"].items()
        if change_db is not None and prompts.round_change_db(change_db)
    }

    def text(index: int, others_db: Mapping[str, float]) -> str:
        return prompts.differential_response(index, others_db, anchor=anchor)

    indices = range(prompts.NUM_RESPONSES)
    index = next((i for i in indices if text(i, changes_db) == row["response"]), None)
    if index is None:
        return
    for stem in STEMS:
        if stem == anchor:
            continue
        change_db = changes_db.get(stem)
        if change_db is None:
            others_db = [3.0]
        else:
            sizes_db = [abs(change_db) + step_db for step_db in _STEPS_DB]
            others_db = [0.0, -change_db]
            others_db += [size if change_db > 0 else -size for size in sizes_db]
            others_db += [size if change_db > 0 else -size for size in _OTHER_SIZES_DB]
        for other_db in others_db:
            if other_db != change_db:
                yield text(index, {**changes_db, stem: other_db})
