"""Compiled or not, with this kind of attention or that: the same loss."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from training_helpers import sample_rows

from mixing_buddy.collation import SFTCollator
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.training.kernels import attention_errors, prepare_to_compile


def compiling(backend: str) -> SimpleNamespace:
    """The training arguments that matter here."""
    return SimpleNamespace(
        torch_compile=True, torch_compile_backend=backend, device=torch.device("cpu")
    )


@pytest.fixture
def fresh_compiler():
    """Forget what was compiled before and after."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_one_graph_serves_texts_of_any_length(make_tiny_buddy, fresh_compiler):
    model, processor = make_tiny_buddy(num_hidden_layers=1)
    model.model.audio_tower.requires_grad_(False)
    model.train()
    args = compiling("eager")
    prepare_to_compile(model, args)
    graphs: list[torch.fx.GraphModule] = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(model, backend=count, fullgraph=True)
    collate, rows = SFTCollator(processor), sample_rows(2)
    for repeats in (1, 3, 2, 5):
        batch = collate([{**row, "response": row["response"] * repeats} for row in rows])
        with torch.no_grad():
            expected = model(**batch).loss
        torch.testing.assert_close(compiled(**batch).loss, expected)
    # One for the first length, then one for all others.
    assert len(graphs) == 2


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs g++")
def test_compiled_and_interpreted_losses_agree(make_tiny_buddy, fresh_compiler):
    model, processor = make_tiny_buddy(num_hidden_layers=1)
    model.model.audio_tower.requires_grad_(False)
    model.model.language_model.layers = model.model.language_model.layers[:1]
    model.config.text_config.num_hidden_layers = 1
    model.train()
    prepare_to_compile(model, compiling("inductor"))
    batch = SFTCollator(processor)(sample_rows(2))
    losses, gradients = [], []
    for each in (model, torch.compile(model)):
        model.zero_grad()
        loss = each(**batch).loss
        loss.backward()
        losses.append(loss.item())
        gradients.append(model.model.layer_mix.weight.grad.clone())
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-6)


def test_kinds_of_attention_reach_both_parts_and_agree(make_tiny_buddy):
    model, processor = make_tiny_buddy()
    batch = SFTCollator(processor)(sample_rows(2))
    losses = []
    for kind in ("eager", "sdpa"):
        model.set_attn_implementation(kind)
        for part in (model.model.audio_tower, model.model.language_model):
            assert part.config._attn_implementation == kind
        with torch.no_grad():
            losses.append(model(**batch).loss)
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["flash_attention_2", "guesswork"])
def test_attention_that_can_not_be_had_is_named(make_tiny_buddy, kind):
    if kind == "flash_attention_2" and torch.cuda.is_available():
        pytest.skip("a GPU is here: flash attention may be had")
    model, _ = make_tiny_buddy()
    with pytest.raises(MixingBuddyError, match=f"--attn_implementation {kind}"):
        with attention_errors(kind):
            model.set_attn_implementation(kind)


def test_no_compiler_is_said_before_training(make_tiny_buddy, monkeypatch, fresh_compiler):
    from torch._inductor import cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler

    def none_found():
        raise InvalidCxxCompiler()

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none_found)
    model, _ = make_tiny_buddy()
    with pytest.raises(MixingBuddyError, match=r"g\+\+"):
        prepare_to_compile(model, compiling("inductor"))
