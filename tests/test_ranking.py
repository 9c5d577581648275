"""Laws of ranking the closed set of answers, on a tiny random model."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from mixing_buddy import prompts
from mixing_buddy.advising.answer_tree import AnswerTree
from mixing_buddy.advising.inference import MixingBuddy
from mixing_buddy.advising.ranking import (
    Candidate,
    Ranker,
    Ranking,
    fit_abstention,
    fit_balanced_log_odds,
    list_candidates,
    pool,
)
from mixing_buddy.claims import Claim
from mixing_buddy.conversations import to_messages
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.flaws import Category, Direction
from mixing_buddy.stems import ADVISED_STEMS, STEMS


def noise(duration_s: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(round(duration_s * 24_000)).astype(np.float32) * 0.1


def decisive_prefixes(sequences: list[list[list[int]]]) -> list[set[tuple[int, ...]]]:
    """For each candidate the shortest beginnings that no other candidate's texts share."""
    found = []
    for own, texts in enumerate(sequences):
        others = [text for each, rest in enumerate(sequences) if each != own for text in rest]
        found.append(
            {
                next(
                    tuple(text[:end])
                    for end in range(1, len(text) + 1)
                    if all(other[:end] != text[:end] for other in others)
                )
                for text in texts
            }
        )
    return found


@torch.inference_mode()
def brute_force(model, processor, clips, instruction, candidates) -> np.ndarray:
    """Log-probabilities by a full forward pass, audio and all, for each branch by itself."""
    prompt = processor.apply_chat_template(
        [to_messages(clips, instruction)],
        tokenize=True,
        return_dict=True,
        add_generation_prompt=True,
    )
    sequences = [
        [processor.tokenizer.encode(text, add_special_tokens=False) for text in each.texts]
        for each in candidates
    ]
    totals = []
    for prefixes in decisive_prefixes(sequences):
        scores = []
        for prefix in prefixes:
            answer = torch.tensor([prefix])
            inputs = dict(prompt)
            inputs["input_ids"] = torch.cat([prompt["input_ids"], answer], dim=1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            logits = model(**inputs, use_cache=False).logits[0, -len(prefix) - 1 : -1]
            log_probs = logits.log_softmax(-1).gather(1, answer.T)
            scores.append(float(log_probs.sum()))
        totals.append(logsumexp(scores))
    return np.array(totals)


@pytest.fixture
def buddy(tiny_buddy) -> MixingBuddy:
    return MixingBuddy(*tiny_buddy, batch_size=3)


def test_posterior_is_that_of_brute_force_in_a_batch_of_unequal_prompts(buddy):
    # One clip or several, short or long, and two to nine candidates: all in one batch.
    samples = [[noise(1.0, 1)], [noise(0.4, 2), noise(2.1, 3)], [noise(0.2, 4)]]
    texts = [
        "Which stem is off?",
        "And here?",
        "What would you do to this mix, and how much of it?",
    ]
    kinds = [
        list_candidates(STEMS, "drums"),
        list_candidates(("bass", "vocals"), "bass", mode="stems"),
        list_candidates(STEMS, "vocals", prompt_category="audio_only"),
    ]
    ranker = Ranker(buddy.model, buddy.processor.tokenizer)
    rankings = ranker.rank(buddy._prompt(samples, texts), kinds)
    for ranking, clips, text, candidates in zip(rankings, samples, texts, kinds, strict=True):
        expected = brute_force(buddy.model, buddy.processor, clips, text, candidates)
        np.testing.assert_allclose(ranking.log_probs, expected, atol=1e-4)
        np.testing.assert_allclose(ranking.posterior, softmax(expected), atol=1e-4)
        assert ranking.candidates == candidates
        assert 0.0 < ranking.mass < 1.0


def causal_attention(module, query, key, value, attention_mask, **kwargs):
    """Like flash attention it takes no mask but the causal one."""
    assert attention_mask is None
    return sdpa_attention_forward(module, query, key, value, None, is_causal=True, **kwargs)


def test_attention_that_takes_no_mask_is_replaced_for_the_tree_alone(buddy):
    AttentionInterface.register("causal_only", causal_attention)
    AttentionMaskInterface.register("causal_only", lambda *args, **kwargs: None)
    ranker = Ranker(buddy.model, buddy.processor.tokenizer)
    inputs = buddy._prompt([[noise(0.3, 1)]], ["Which stem is off?"])
    candidates = [list_candidates(STEMS, "drums")]
    (expected,) = ranker.rank(inputs, candidates)
    decoder = buddy.model.get_decoder()
    before = decoder.config._attn_implementation
    try:
        for implementation in ("eager", "causal_only"):
            decoder.set_attn_implementation(implementation)
            (ranking,) = ranker.rank(inputs, candidates)
            assert decoder.config._attn_implementation == implementation
            np.testing.assert_allclose(ranking.log_probs, expected.log_probs, atol=1e-4)
    finally:
        decoder.set_attn_implementation(before)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_language_model_in_half_precision_ranks_nearly_the_same(buddy, implementation):
    inputs = buddy._prompt([[noise(0.3, 1)], [noise(0.9, 2)]], ["Which stem is off?", "Well?"])
    candidates = [list_candidates(STEMS, "drums"), list_candidates(STEMS, "bass")]
    expected = Ranker(buddy.model, buddy.processor.tokenizer).rank(inputs, candidates)
    half = copy.deepcopy(buddy.model)
    half.set_attn_implementation(implementation)
    half.lm_head.to(torch.bfloat16)
    half.model.language_model.to(torch.bfloat16)
    rankings = Ranker(half, buddy.processor.tokenizer).rank(inputs, candidates)
    for ranking, exact in zip(rankings, expected, strict=True):
        np.testing.assert_allclose(ranking.posterior, exact.posterior, atol=0.02)


def test_prompt_is_run_once_and_only_words_that_decide_are_run_again(buddy, monkeypatch):
    widths = []
    forward = buddy.model.forward
    monkeypatch.setattr(
        buddy.model,
        "forward",
        lambda **inputs: widths.append(inputs["input_ids"].shape) or forward(**inputs),
    )
    buddy.rank([[noise(0.3, 1)]], ["drums"])
    prompt, tree = widths
    assert prompt[0] == tree[0] == 1
    num_tokens = sum(
        len(buddy.processor.tokenizer.encode(text))
        for each in list_candidates(STEMS, "drums")
        for text in each.texts
    )
    assert tree[1] < num_tokens / 10


def test_answers_are_those_of_the_templates():
    candidates = list_candidates(STEMS, "drums")
    assert [(each.stem, each.category) for each in candidates] == [
        *[
            (stem, category)
            for stem in ("bass", "vocals")
            for category in Category
            if category != "no_error"
        ],
        (None, Category.NO_ERROR),
    ]
    for each in candidates:
        assert len(set(each.texts)) == prompts.NUM_RESPONSES
        assert (each.advice.stem, each.advice.direction) == (each.stem, each.direction)
        assert (each.advice.direction is Direction.NONE) == each.is_balanced
    assert len(list_candidates(("bass", "drums", "other"), "drums")) == 5
    claim = Claim("bass", Direction.RAISE)
    described = list_candidates(
        STEMS, "drums", prompt_category="incorrect_description", claim=claim
    )
    right = next(each for each in described if (each.stem, each.category) == ("bass", "quiet"))
    assert "yes:" in right.texts[0]
    assert sum("yes:" in each.texts[0] for each in described) == 2
    with pytest.raises(MixingBuddyError, match="nothing to rank"):
        list_candidates(("drums", "other"), "drums")


def test_no_anchor_asks_with_each_and_ranks_every_flaw(buddy):
    clip = noise(0.5, 1)
    (ranking,) = buddy.rank([[clip]], [None])
    assert len(ranking.candidates) == 13
    assert {each.stem for each in ranking.candidates} == {None, *ADVISED_STEMS}
    assert ranking.candidates[-1].is_balanced
    assert ranking.posterior.sum() == pytest.approx(1.0)
    anchored = buddy.rank([[clip]] * 3, ADVISED_STEMS)
    np.testing.assert_allclose(ranking.posterior, pool(anchored).posterior, atol=1e-5)


def test_pool_takes_each_flaw_from_the_rankings_that_have_it():
    both = [
        Ranking(
            (Candidate(Category.LOUD, "bass"), Candidate(Category.NO_ERROR, None)), np.log([a, b])
        )
        for a, b in ((0.2, 0.6), (0.4, 0.1))
    ]
    only = Ranking(
        (Candidate(Category.LOUD, "drums"), Candidate(Category.NO_ERROR, None)), np.log([0.5, 0.5])
    )
    pooled = pool([*both, only])
    # Each names one flaw out of the two that there are.
    expected = {"bass": math.sqrt(0.2 / 0.6 * 0.4 / 0.1) / 2, "drums": 1.0 / 2, None: 1.0}
    total = sum(expected.values())
    for candidate, posterior in zip(pooled.candidates, pooled.posterior, strict=True):
        assert posterior == pytest.approx(expected[candidate.stem] / total)


@given(st.lists(st.floats(0.01, 1.0), min_size=13, max_size=13), st.floats(0.05, 0.95))
def test_pool_of_bayesian_listeners_is_a_bayesian_listener(likelihoods, prior_of_balance):
    """Listeners who know that their anchor is right are pooled to one who knows of none."""
    flaws = [each for anchor in ADVISED_STEMS for each in list_candidates(STEMS, anchor)[:-1]]
    flaws = {(each.stem, each.category): each for each in flaws}
    balanced = list_candidates(STEMS, "drums")[-1]
    likelihood = dict(zip(flaws, likelihoods, strict=False))

    def listen(anchor):
        known = [each for each in flaws.values() if each.stem != anchor]
        prior = (1.0 - prior_of_balance) / len(known)
        joint = [prior * likelihood[each.stem, each.category] for each in known]
        joint.append(prior_of_balance * likelihoods[-1])
        return Ranking((*known, balanced), np.log(joint) - np.log(sum(joint)))

    pooled, expected = pool([listen(anchor) for anchor in ADVISED_STEMS]), listen(None)
    posteriors = [
        {(each.stem, each.category): p for each, p in zip(r.candidates, r.posterior, strict=True)}
        for r in (pooled, expected)
    ]
    assert posteriors[0] == pytest.approx(posteriors[1])


@given(st.lists(st.floats(-30.0, 0.0), min_size=9, max_size=9), st.floats(-20.0, 20.0))
def test_ranking_is_a_distribution_and_favours_as_told(log_probs, log_odds):
    ranking = Ranking(list_candidates(STEMS, "drums"), np.array(log_probs))
    assert ranking.posterior.sum() == pytest.approx(1.0)
    assert ranking.confidence == ranking.posterior.max()
    assert ranking.best in [
        c for c, v in zip(ranking.candidates, log_probs, strict=True) if v > max(log_probs) - 1e-9
    ]
    assert -1e-9 <= ranking.entropy <= math.log(9) + 1e-9
    favoured = ranking.favour_balanced(log_odds)

    def odds(each: Ranking) -> float:
        return float(each.log_probs[-1] - each.log_probs[0])

    assert odds(favoured) - odds(ranking) == pytest.approx(log_odds, abs=1e-9)
    change = favoured.balanced_probability - ranking.balanced_probability
    assert change * log_odds >= -1e-12


def test_fitted_prior_is_the_best_there_is():
    rng = np.random.default_rng(0)
    candidates = list_candidates(STEMS, "drums")
    truths = [candidates[rng.integers(len(candidates))] for _ in range(200)]
    # A model that hears what is so, but hardly ever says "balanced".
    rankings = [
        Ranking(
            candidates,
            rng.normal(size=9)
            + [1.5 * (each is truth) - 2.0 * each.is_balanced for each in candidates],
        )
        for truth in truths
    ]

    def num_right(log_odds: float) -> int:
        judged = [ranking.favour_balanced(log_odds).best for ranking in rankings]
        return sum(
            (given.stem, given.direction) == (truth.stem, truth.direction)
            for given, truth in zip(judged, truths, strict=True)
        )

    careful = fit_balanced_log_odds(rankings, truths, balanced_recall=0.9)
    judged = [ranking.favour_balanced(careful).best for ranking in rankings]
    calls = [a.is_balanced for a, truth in zip(judged, truths, strict=True) if truth.is_balanced]
    assert np.mean(calls) >= 0.9
    fitted = fit_balanced_log_odds(rankings, truths)
    assert careful >= fitted
    assert fitted > 0.5
    assert num_right(fitted) > num_right(0.0)
    assert num_right(fitted) >= max(num_right(value) for value in np.linspace(-2.0, 4.0, 61))


@given(
    st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.7, 0.9]), st.booleans()), min_size=1),
    st.floats(0.0, 1.0),
)
def test_abstention_is_the_lowest_threshold_that_reaches_the_accuracy(pairs, accuracy):
    confidences, rights = map(list, zip(*pairs, strict=True))
    reached = [
        threshold
        for threshold in set(confidences)
        if np.mean([right for each, right in pairs if each >= threshold]) >= accuracy
    ]
    expected = min(reached, default=math.inf)
    assert fit_abstention(confidences, rights, accuracy=accuracy) == expected


def test_texts_that_decide_nothing_are_refused():
    with pytest.raises(MixingBuddyError, match="tell all categories apart"):
        AnswerTree.build([[[1, 2]], [[1, 2, 3]]])


def test_errors_say_what_to_do(buddy):
    clips = [[noise(0.2, 1)]]
    with pytest.raises(MixingBuddyError, match="name one for each sample"):
        buddy.rank(clips, [None], instructions=["Which stem is off?"])
    with pytest.raises(MixingBuddyError, match="Sample 0: the anchor bass"):
        buddy.rank(clips, ["bass"], stems=[("drums", "vocals")])
    with pytest.raises(MixingBuddyError, match="Unknown mode"):
        buddy.rank(clips, ["bass"], mode="differential")
