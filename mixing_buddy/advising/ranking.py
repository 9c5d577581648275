"""How likely a model finds each piece of advice that can be given: a posterior, not one answer.

The advice that can be given about a clip is a closed set: each stem that may be off times the four
flaw categories, and "balanced". Every member can be said in the words of ten response templates.
The answers are laid out as one tree of tokens, so that words which open several of them are scored
once, and each branch is cut where the rest of it can only be said of one piece of advice: what
follows there decides nothing, and a longer text is not held against it. The likelihood of a piece
of advice is the sum over its branches, which is the probability that the model's answer takes one
of them. The prompt is run once; then the whole tree is run at once on top of its cache, each token
seeing the prompt and what stands before it on its own branch.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy.special import logsumexp

from mixing_buddy import prompts
from mixing_buddy.advice import Advice, parse_advice
from mixing_buddy.advising.answer_tree import AnswerTree
from mixing_buddy.claims import Claim, PromptCategory
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.flaws import FLAWS, Category, Direction
from mixing_buddy.stems import ADVISED_STEMS


@dataclass(frozen=True)
class Candidate:
    """A piece of advice that can be given.

    Args:
        category: how the stem stands; `Category.NO_ERROR` where nothing is off.
        stem: the stem that is off, None where nothing is.
        texts: the ways to say it.
    """

    category: Category
    stem: str | None
    texts: tuple[str, ...] = ()

    @property
    def is_balanced(self) -> bool:
        """Whether it says that nothing is off."""
        return self.category is Category.NO_ERROR

    @property
    def direction(self) -> Direction:
        """What it asks the fader to do."""
        return FLAWS[self.category].direction

    @property
    def advice(self) -> Advice:
        """The advice in the words of the first template."""
        return parse_advice(self.texts[0])


@dataclass(frozen=True)
class Ranking:
    """What a model thinks of every piece of advice that can be given about a sample.

    Args:
        candidates: the pieces of advice, "balanced" last.
        log_probs: natural logarithm of the probability that the answer is each, of shape
            `(num_candidates,)`; the probabilities sum to less than 1 by what the model gives to
            other answers.
    """

    candidates: tuple[Candidate, ...]
    log_probs: np.ndarray

    @cached_property
    def posterior(self) -> np.ndarray:
        """Probability of each candidate, given that one is the answer, `(num_candidates,)`."""
        return np.exp(self.log_probs - logsumexp(self.log_probs))

    @property
    def best(self) -> Candidate:
        """The most likely candidate."""
        return self.candidates[int(self.posterior.argmax())]

    @property
    def confidence(self) -> float:
        """Posterior of the most likely candidate."""
        return float(self.posterior.max())

    @property
    def entropy(self) -> float:
        """Entropy of the posterior in nats: 0 where the model is sure."""
        seen = self.posterior[self.posterior > 0.0]
        return float(-(seen * np.log(seen)).sum())

    @property
    def mass(self) -> float:
        """Share of the model's probability that falls on the candidates at all.

        Far below 1 where the model does not answer in the templates' words, so that the posterior
        says little.
        """
        return float(np.exp(logsumexp(self.log_probs)))

    @property
    def balanced_index(self) -> int:
        """Where "balanced" stands among the candidates."""
        (index,) = (i for i, each in enumerate(self.candidates) if each.is_balanced)
        return index

    @property
    def balanced_probability(self) -> float:
        """Posterior of "balanced"."""
        return float(self.posterior[self.balanced_index])

    def favour_balanced(self, log_odds: float) -> Ranking:
        """Correct the prior: make "balanced" more likely, or less.

        Args:
            log_odds: what to add to its log-odds against every flaw, in nats; see
                `fit_balanced_log_odds`.
        """
        shift = np.array([log_odds if each.is_balanced else 0.0 for each in self.candidates])
        return replace(self, log_probs=self.log_probs + shift)


def fit_balanced_log_odds(
    rankings: Sequence[Ranking], truths: Sequence[Candidate], *, balanced_recall: float = 0.0
) -> float:
    """Find the correction of the prior with which most samples are judged right.

    Args:
        rankings: of samples that the model was not trained on.
        truths: for each the right advice; stem and direction count, the size does not.
        balanced_recall: share of balanced samples that must be called so, whatever it costs.

    Returns:
        What `Ranking.favour_balanced` takes; of equally good values the one closest to 0.
    """
    gaps, without, balanced = [], [], []
    for ranking, truth in zip(rankings, truths, strict=True):
        order = np.argsort(ranking.log_probs)[::-1]
        flaw = next(i for i in order if not ranking.candidates[i].is_balanced)
        rest = next(i for i in order if ranking.candidates[i].is_balanced)
        gaps.append(ranking.log_probs[flaw] - ranking.log_probs[rest])
        without.append(is_right(ranking.candidates[flaw], truth))
        balanced.append(truth.is_balanced)
    gaps, without, balanced = np.array(gaps), np.array(without), np.array(balanced)
    # Between two neighbouring gaps nothing changes: their middles are all there is to try.
    edges = np.sort(gaps)
    tries = np.concatenate([[0.0, edges[0] - 1.0], (edges[1:] + edges[:-1]) / 2, [edges[-1] + 1.0]])
    if balanced.any():
        recalls = np.array([(gaps[balanced] <= value).mean() for value in tries])
        tries = tries[recalls >= balanced_recall]
    rights = np.array([np.where(gaps > value, without, balanced).sum() for value in tries])
    return float(min(tries[rights == rights.max()], key=abs))


def fit_abstention(
    confidences: Sequence[float], rights: Sequence[bool], *, accuracy: float
) -> float:
    """Find the confidence below which to say nothing.

    Args:
        confidences: `Ranking.confidence` of samples that the model was not trained on.
        rights: whether the best candidate of each was right.
        accuracy: share of right answers wanted among those given.

    Returns:
        The lowest threshold at which the samples of this confidence or more reach `accuracy`;
        infinity if none does.
    """
    order = np.argsort(-np.asarray(confidences), kind="stable")
    ordered = np.asarray(confidences, dtype=float)[order]
    shares = np.cumsum(np.asarray(rights, dtype=float)[order]) / np.arange(1, len(order) + 1)
    # Samples of equal confidence can only be answered together.
    last_of_tie = np.append(ordered[1:] != ordered[:-1], True)
    reached = ordered[(shares >= accuracy) & last_of_tie]
    return float(reached.min()) if len(reached) else math.inf


def is_right(given: Candidate, truth: Candidate) -> bool:
    """Whether advice names the right stem and direction; its size does not count."""
    return (given.stem, given.direction) == (truth.stem, truth.direction)


def list_candidates(
    stems: Sequence[str],
    anchor: str,
    *,
    mode: str = "single_mix",
    prompt_category: PromptCategory | str = PromptCategory.ADVICE_SEEKING,
    claim: Claim | None = None,
) -> tuple[Candidate, ...]:
    """List the advice that can be given about a sample.

    Args:
        stems: the stems that sound in it.
        anchor: the stem whose level is taken as right.
        mode: "single_mix" or "stems".
        prompt_category: what kind of prompt it is.
        claim: what a description claims, None in other prompts.

    Returns:
        Each stem that may be off, in each way, and "balanced" last: up to 9.

    Raises:
        MixingBuddyError: an argument is out of range, or no stem is left to judge.
    """
    targets = [stem for stem in ADVISED_STEMS if stem in stems and stem != anchor]
    if not targets:
        raise MixingBuddyError(
            f"There is nothing to rank: beside the anchor {anchor}, none of "
            f"{', '.join(ADVISED_STEMS)} sounds."
        )
    pairs = [(stem, each) for stem in targets for each in Category if each is not Category.NO_ERROR]
    return tuple(
        Candidate(
            category,
            None if category is Category.NO_ERROR else stem,
            tuple(
                prompts.response(
                    index,
                    category,
                    target=stem,
                    anchor=anchor,
                    mode=mode,
                    prompt_category=prompt_category,
                    claim=claim,
                )
                for index in range(prompts.NUM_RESPONSES)
            ),
        )
        for stem, category in [*pairs, (targets[0], Category.NO_ERROR)]
    )


def pool(rankings: Sequence[Ranking]) -> Ranking:
    """Pool what a model thinks of one sample, or of one song, when asked with different anchors.

    A stem cannot be found off where it is the anchor: each ranking holds on condition that its
    anchor is right. What such a condition leaves alone is how much likelier the sound is with a
    flaw than without: its odds against "balanced", but for the prior, which each ranking shares out
    among the flaws that it has. So a flaw's log-odds are the mean over the rankings that have it,
    with the prior shared out among all flaws.

    Args:
        rankings: one for each anchor, or for each window of a song and anchor.

    Returns:
        A ranking of all candidates that occur, "balanced" last.
    """
    seen: dict[tuple, list[float]] = {}
    texts: dict[tuple, Candidate] = {}
    for ranking in rankings:
        log_odds = ranking.log_probs - ranking.log_probs[ranking.balanced_index]
        num_flaws = len(ranking.candidates) - 1
        log_odds += [
            0.0 if each.is_balanced else math.log(num_flaws) for each in ranking.candidates
        ]
        for candidate, value in zip(ranking.candidates, log_odds, strict=True):
            key = (candidate.stem, candidate.category)
            seen.setdefault(key, []).append(float(value))
            texts.setdefault(key, candidate)
    order = sorted(seen, key=lambda key: (key[0] is None, ADVISED_STEMS.index(key[0] or "bass")))
    mass = np.mean([math.log(ranking.mass) for ranking in rankings])
    log_probs = np.array([np.mean(seen[key]) for key in order])
    log_probs[:-1] -= math.log(max(len(order) - 1, 1))
    log_probs += mass - logsumexp(log_probs)
    return Ranking(tuple(texts[key] for key in order), log_probs)


class Ranker:
    """Scores candidates under a model.

    Args:
        model: a ``MixingBuddyForConditionalGeneration`` in evaluation mode.
        tokenizer: its tokenizer.
    """

    def __init__(self, model, tokenizer):
        self.model = model
        self.tokenizer = tokenizer
        self._trees: dict[tuple[Candidate, ...], AnswerTree] = {}

    def tree(self, candidates: tuple[Candidate, ...]) -> AnswerTree:
        """The tree of the candidates' answers."""
        if candidates not in self._trees:
            tokens = self.tokenizer(
                [text for each in candidates for text in each.texts], add_special_tokens=False
            )["input_ids"]
            rest = iter(tokens)
            self._trees[candidates] = AnswerTree.build(
                [[next(rest) for _ in each.texts] for each in candidates]
            )
        return self._trees[candidates]

    @torch.inference_mode()
    def rank(self, inputs, candidates: Sequence[tuple[Candidate, ...]]) -> list[Ranking]:
        """Rank candidates.

        Args:
            inputs: the processor's output for prompts that end where the answer starts, padded on
                the left.
            candidates: for each prompt the advice that can be given.

        Returns:
            One ranking for each prompt.
        """
        trees = [self.tree(each) for each in candidates]
        mask = inputs["attention_mask"]
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        prompt = self.model(**inputs, position_ids=positions, use_cache=True, logits_to_keep=1)
        with _attention_by_mask(self.model):
            logits = self.model(
                **_lay_out(trees, mask, self.model.get_input_embeddings().weight.dtype),
                past_key_values=prompt.past_key_values,
                use_cache=True,
            ).logits
        rankings = []
        for row, (tree, each) in enumerate(zip(trees, candidates, strict=True)):
            # Row by row: of a large vocabulary, single precision of all would not fit.
            scores = torch.cat([prompt.logits[row, -1:], logits[row, : tree.num_run]]).float()
            parents = torch.from_numpy(tree.parents + 1).to(scores.device)
            tokens = torch.from_numpy(tree.tokens).to(scores.device)
            log_probs = scores[parents, tokens] - scores.logsumexp(-1)[parents]
            rankings.append(Ranking(each, tree.sum_up(log_probs.cpu().numpy())))
        return rankings


def _lay_out(trees: Sequence[AnswerTree], mask: torch.Tensor, dtype: torch.dtype) -> dict:
    """Model input that runs each tree's nodes on top of its prompt.

    Args:
        trees: one for each prompt.
        mask: the prompts' attention mask of shape `(batch_size, prompt_length)`.
        dtype: in which the language model computes.
    """
    width = max(tree.num_run for tree in trees)
    # Nodes that fill up a smaller tree see themselves and the prompt; nothing sees them.
    tokens = torch.zeros(len(trees), width, dtype=torch.long)
    seen = torch.eye(width, dtype=torch.bool).repeat(len(trees), 1, 1)
    for row, tree in enumerate(trees):
        tokens[row, : tree.num_run] = torch.from_numpy(tree.tokens[: tree.num_run])
        seen[row, : tree.num_run, : tree.num_run] = torch.from_numpy(tree.paths)
    seen = seen.to(mask.device)
    visible = torch.cat([mask.bool().unsqueeze(1).expand(-1, width, -1), seen], dim=-1)
    bias = torch.zeros(visible.shape, dtype=dtype, device=mask.device)
    return {
        "input_ids": tokens.to(mask.device),
        "position_ids": mask.sum(-1, keepdim=True) + seen.sum(-1) - 1,
        "attention_mask": bias.masked_fill(~visible, torch.finfo(dtype).min).unsqueeze(1),
    }


@contextlib.contextmanager
def _attention_by_mask(model) -> Iterator[None]:
    """Run the language model by an attention that takes any mask, which flash attention does not.

    The cache of keys and values is the same for all.
    """
    language_model = model.get_decoder()
    chosen = language_model.config._attn_implementation
    if chosen in ("eager", "sdpa"):
        yield
        return
    language_model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        language_model.set_attn_implementation(chosen)
