"""Ways to generate, on a tiny random model: what must not change the answer doesn't."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from mixing_buddy.conversations import to_messages

GREEDY = {"do_sample": False, "max_new_tokens": 8, "min_new_tokens": 8}


def noise(duration_s: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(round(duration_s * 24_000)).astype(np.float32) * 0.1


#: One clip or two, short or long.
SAMPLES = [[noise(2.0, 1)], [noise(0.7, 2), noise(3.1, 3)], [noise(0.2, 4)]]


def encode(processor, samples):
    return processor.apply_chat_template(
        [to_messages(clips, "Which stem is off?") for clips in samples],
        tokenize=True,
        return_dict=True,
        add_generation_prompt=True,
        processor_kwargs={"padding_side": "left"},
    )


def generate(model, inputs, **arguments) -> torch.Tensor:
    """Generate; returns only what comes after the prompt, `(num_sequences, num_new_tokens)`."""
    tokens = model.generate(**inputs, **{**GREEDY, **arguments})
    return tokens[:, inputs["input_ids"].shape[1] :]


@pytest.fixture
def greedy(tiny_buddy):
    """Inputs of the batch, and the tokens that greedy decoding makes of it."""
    model, processor = tiny_buddy
    inputs = encode(processor, SAMPLES)
    return inputs, generate(model, inputs)


def test_batch_generates_what_each_sample_does(tiny_buddy, greedy):
    model, processor = tiny_buddy
    for clips, expected in zip(SAMPLES, greedy[1], strict=True):
        assert torch.equal(generate(model, encode(processor, [clips]))[0], expected)


@pytest.mark.parametrize(
    "arguments",
    [
        {"use_cache": False},
        {"cache_implementation": "static", "disable_compile": True},
    ],
    ids=["no-cache", "static-cache"],
)
def test_cache_changes_no_token(tiny_buddy, greedy, arguments):
    inputs, expected = greedy
    assert torch.equal(generate(tiny_buddy[0], inputs, **arguments), expected)


def test_guessing_ahead_changes_no_token(tiny_buddy):
    model, processor = tiny_buddy
    inputs = encode(processor, [SAMPLES[1]])
    expected = generate(model, inputs)
    assert torch.equal(generate(model, inputs, prompt_lookup_num_tokens=3), expected)


def test_one_beam_is_greedy_and_more_are_no_less_likely(tiny_buddy, greedy):
    model, _ = tiny_buddy
    inputs, expected = greedy
    assert torch.equal(generate(model, inputs, num_beams=1), expected)
    beams = model.generate(
        **inputs, **GREEDY, num_beams=3, output_scores=True, return_dict_in_generate=True
    )

    def log_prob(tokens: torch.Tensor) -> torch.Tensor:
        sequences = torch.cat([inputs["input_ids"], tokens], dim=1)
        mask = torch.nn.functional.pad(inputs["attention_mask"], (0, tokens.shape[1]), value=1)
        with torch.inference_mode():
            logits = model(**{**inputs, "input_ids": sequences, "attention_mask": mask}).logits
        scores = logits[:, -tokens.shape[1] - 1 : -1].log_softmax(-1)
        return scores.gather(-1, tokens.unsqueeze(-1)).sum((1, 2))

    found = beams.sequences[:, inputs["input_ids"].shape[1] :]
    assert (log_prob(found) >= log_prob(expected) - 1e-4).all()
    torch.testing.assert_close(beams.sequences_scores * 8, log_prob(found), atol=1e-3, rtol=0)


@pytest.mark.parametrize("num_beams", [1, 2])
def test_every_returned_sequence_starts_from_its_own_sample(tiny_buddy, num_beams):
    model, processor = tiny_buddy
    inputs = encode(processor, SAMPLES)
    with torch.inference_mode():
        expected = model(**inputs).logits[:, -1]
    output = model.generate(
        **inputs,
        do_sample=True,
        max_new_tokens=1,
        num_beams=num_beams,
        num_return_sequences=2,
        output_logits=True,
        return_dict_in_generate=True,
    )
    torch.testing.assert_close(
        output.logits[0], expected.repeat_interleave(2, dim=0), atol=1e-5, rtol=1e-4
    )


def test_generation_goes_on_from_where_it_stopped(tiny_buddy, greedy):
    model, _ = tiny_buddy
    inputs, expected = greedy
    start = model.generate(
        **inputs,
        **{**GREEDY, "max_new_tokens": 3, "min_new_tokens": 3},
        return_dict_in_generate=True,
    )
    mask = torch.nn.functional.pad(inputs["attention_mask"], (0, 3), value=1)
    rest = model.generate(
        input_ids=start.sequences,
        attention_mask=mask,
        past_key_values=start.past_key_values,
        **{**GREEDY, "max_new_tokens": 5, "min_new_tokens": 5},
    )
    assert torch.equal(rest[:, inputs["input_ids"].shape[1] :], expected)


def test_generation_from_embeddings_is_that_from_tokens(tiny_buddy):
    model, processor = tiny_buddy
    inputs = encode(processor, [SAMPLES[0]])
    expected = generate(model, inputs)
    embeds = model.get_input_embeddings()(inputs["input_ids"])
    tokens = model.generate(
        inputs_embeds=embeds, **{k: v for k, v in inputs.items() if k != "input_ids"}, **GREEDY
    )
    assert torch.equal(tokens, expected)


def test_generation_from_cached_states_is_that_from_clips(tiny_buddy):
    model, processor = tiny_buddy
    inputs = encode(processor, SAMPLES)
    with torch.inference_mode():
        lengths = inputs["input_values_mask"].sum(-1).tolist()
        states = torch.stack(model.model.encode(inputs["input_values"], lengths), dim=1)
    cached = {name: value for name, value in inputs.items() if name != "input_values"}
    for beams in (1, 2):
        expected = generate(model, inputs, num_beams=beams)
        tokens = generate(model, {**cached, "encoder_states": states}, num_beams=beams)
        assert torch.equal(tokens, expected)


def test_logits_to_keep_are_the_last_of_all(tiny_buddy, greedy):
    model, _ = tiny_buddy
    inputs, _ = greedy
    with torch.inference_mode():
        expected = model(**inputs).logits
        for keep in (1, 3):
            kept = model(**inputs, logits_to_keep=keep).logits
            torch.testing.assert_close(kept, expected[:, -keep:])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_half_precision_is_close_and_generates(tiny_buddy, greedy, dtype):
    model, _ = tiny_buddy
    inputs, _ = greedy
    half = copy.deepcopy(model).to(dtype)
    with torch.inference_mode():
        expected, logits = model(**inputs).logits[:, -1], half(**inputs).logits[:, -1]
    assert logits.dtype == dtype
    error = (logits.float() - expected).norm() / expected.norm()
    assert error < (0.05 if dtype is torch.bfloat16 else 0.01)
    tokens = generate(half, inputs)
    assert tokens.shape == (len(SAMPLES), 8)
    assert torch.equal(generate(half, inputs, use_cache=False)[:, 0], tokens[:, 0])


def test_compiled_model_generates_the_same(tiny_buddy):
    model, processor = tiny_buddy
    inputs = encode(processor, [SAMPLES[2]])
    compiled = copy.deepcopy(model)
    torch._dynamo.reset()
    # The backend that traces and runs without making machine code: seconds, not a minute.
    compiled.forward = torch.compile(compiled.forward, backend="eager", dynamic=True)
    few = {"max_new_tokens": 4, "min_new_tokens": 4}
    assert torch.equal(generate(compiled, inputs, **few), generate(model, inputs, **few))


def test_decoding_step_compiles_into_one_graph(tiny_buddy, greedy):
    model, _ = tiny_buddy
    inputs, expected = greedy
    torch._dynamo.reset()
    with torch.inference_mode():
        prompt = model(**inputs, use_cache=True)
        step = torch.compile(model.forward, backend="eager", fullgraph=True)
        length = inputs["input_ids"].shape[1]
        output = step(
            input_ids=expected[:, :1],
            attention_mask=torch.nn.functional.pad(inputs["attention_mask"], (0, 1), value=1),
            position_ids=torch.full((len(SAMPLES), 1), length),
            past_key_values=prompt.past_key_values,
            use_cache=True,
        )
    assert output.logits.shape[:2] == (len(SAMPLES), 1)
