"""Building a model from pretrained parts, with tiny folders of the real ones' structure."""

import json
import shutil

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from training_helpers import sample_rows
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from mixing_buddy.assembly import AssemblyError, from_parts
from mixing_buddy.cli import app
from mixing_buddy.collation import SFTCollator
from mixing_buddy.encoder_conversion import convert_encoder
from mixing_buddy.modeling import MixingBuddyForConditionalGeneration, MixingBuddyProcessor
from mixing_buddy.modeling.assembly_mixing_buddy import (
    PartsError,
    UnsupportedEncoderError,
    load_audio_encoder,
    resolve_revision,
)
from mixing_buddy.tokenization import AUDIO_TOKEN


def test_encoder_reproduces_the_authors_hidden_states(mert):
    reference = load_file(mert / "reference.safetensors")
    encoder = load_audio_encoder(str(mert))
    with torch.inference_mode():
        outputs = encoder(reference["input_values"], output_hidden_states=True)
    states = (*outputs.hidden_states[:-1], outputs.last_hidden_state)
    for index, state in enumerate(states):
        torch.testing.assert_close(state, reference[f"hidden_states_{index}"], atol=1e-5, rtol=0)
    assert f"hidden_states_{len(states)}" not in reference


def test_the_model_mixes_those_very_states(mert, language_model):
    reference = load_file(mert / "reference.safetensors")
    model, _ = from_parts(str(mert), str(language_model), num_level_bands=0)
    states = [value for name, value in sorted(reference.items()) if name.startswith("hidden_")]
    with torch.no_grad():
        model.model.layer_mix.weight.copy_(torch.arange(len(states)) / 2)
        weights = torch.softmax(model.model.layer_mix.weight, 0)
        mixed = model.model.layer_mix(model.model.encode(reference["input_values"]))
    expected = sum(weight * state for weight, state in zip(weights, states, strict=True))
    torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=0)


def states_of(encoder, input_values):
    with torch.inference_mode():
        outputs = encoder(input_values, output_hidden_states=True)
    return (*outputs.hidden_states[:-1], outputs.last_hidden_state)


def old_names(state: dict) -> dict:
    """Name weight norm as PyTorch did before 2.0, as in the published checkpoints."""
    new = {"parametrizations.weight.original0": "weight_g"}
    new["parametrizations.weight.original1"] = "weight_v"
    for current, old in new.items():
        state = {name.replace(current, old): value for name, value in state.items()}
    return state


def writable_copy(folder, to):
    to.mkdir()
    for path in folder.iterdir():
        shutil.copyfile(path, to / path.name)
    return to


def test_weight_norm_under_its_old_names_gives_the_same_states(mert, tmp_path):
    reference = load_file(mert / "reference.safetensors")
    folder = writable_copy(mert, tmp_path / "mert")
    state = old_names(load_file(folder / "model.safetensors"))
    assert any(name.endswith("conv.weight_g") for name in state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    encoder = load_audio_encoder(str(folder))
    for index, found in enumerate(states_of(encoder, reference["input_values"])):
        torch.testing.assert_close(found, reference[f"hidden_states_{index}"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("names", [dict, old_names], ids=["new names", "old names"])
def test_pickled_weights_are_refused_until_they_are_converted(mert, tmp_path, names):
    reference = load_file(mert / "reference.safetensors")
    folder = writable_copy(mert, tmp_path / "mert")
    torch.save(names(load_file(folder / "model.safetensors")), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(PartsError, match="mixing-buddy convert-encoder"):
        load_audio_encoder(str(folder))

    done = CliRunner().invoke(app, ["convert-encoder", str(folder), str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    encoder = load_audio_encoder(str(tmp_path / "out"))
    for index, found in enumerate(states_of(encoder, reference["input_values"])):
        torch.testing.assert_close(found, reference[f"hidden_states_{index}"], atol=1e-5, rtol=0)
    with pytest.raises(AssemblyError, match="exists already"):
        convert_encoder(str(folder), tmp_path / "out")


class Burglar:
    def __reduce__(self):
        return (print, ("burgled",))


def test_a_pickle_that_runs_code_is_never_run(mert, tmp_path, capsys):
    folder = writable_copy(mert, tmp_path / "mert")
    torch.save({"weight": Burglar()}, folder / "pytorch_model.bin")
    with pytest.raises(AssemblyError, match="more than tensors"):
        convert_encoder(str(folder), tmp_path / "out")
    assert "burgled" not in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_weights_that_are_no_encoders_are_not_converted(mert, tmp_path):
    folder = writable_copy(mert, tmp_path / "mert")
    torch.save({"weight": torch.zeros(2)}, folder / "pytorch_model.bin")
    with pytest.raises(AssemblyError, match="no MERT or HuBERT encoder"):
        convert_encoder(str(folder), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["mert"]


def test_a_hub_encoder_is_converted_once_and_found_under_its_id(mert, tmp_path, monkeypatch):
    commit = "0" * 40
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    # A repository in the Hub's cache, as a download leaves it.
    cached = tmp_path / "hub" / "models--someone--mert"
    snapshot = cached / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    shutil.copyfile(mert / "config.json", snapshot / "config.json")
    torch.save(old_names(load_file(mert / "model.safetensors")), snapshot / "pytorch_model.bin")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    assert resolve_revision("someone/mert") == commit
    with pytest.raises(PartsError, match=f"convert-encoder someone/mert --revision {commit}"):
        load_audio_encoder("someone/mert")
    folder = convert_encoder("someone/mert")
    assert folder.is_relative_to(tmp_path / "assets")
    encoder = load_audio_encoder("someone/mert")
    reference = load_file(mert / "reference.safetensors")
    last = states_of(encoder, reference["input_values"])[-1]
    expected = [value for name, value in sorted(reference.items()) if "hidden_" in name][-1]
    torch.testing.assert_close(last, expected, atol=1e-5, rtol=0)


def test_clips_of_unequal_length_are_embedded_alike_alone_and_together(mert, language_model):
    model, processor = from_parts(str(mert), str(language_model), num_level_bands=0)
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal(length).astype(np.float32) for length in (9_000, 24_000, 9_000)]

    def embed(clips):
        # Each clip is a sample of its own, so that no level reference is shared.
        inputs = processor.feature_extractor(clips, sampling_rate=24_000, return_tensors="pt")
        mask = inputs.get("input_values_mask", inputs.get("attention_mask"))
        with torch.inference_mode():
            return model.get_audio_features(
                inputs["input_values"], mask, return_dict=True
            ).pooler_output

    together = embed(clips)
    alone = torch.cat([embed([clip]) for clip in clips])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("field", ["deepnorm", "feature_extractor_cqt"])
def test_an_encoder_that_computes_otherwise_is_refused(mert, tmp_path, field):
    folder = writable_copy(mert, tmp_path / "mert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, field: True}))
    with pytest.raises(UnsupportedEncoderError, match=field):
        load_audio_encoder(str(folder))


def test_parts_keep_their_weights_and_the_whole_is_saved_and_reloaded(
    mert, language_model, tmp_path
):
    model, processor = from_parts(
        str(mert), str(language_model), projector_hidden_sizes=[32], projector_dropouts=[0.0]
    )
    text = AutoModelForCausalLM.from_pretrained(language_model)
    for name, value in text.model.state_dict().items():
        assert torch.equal(model.model.language_model.state_dict()[name], value)
    assert torch.equal(model.lm_head.weight, text.lm_head.weight)
    assert processor.tokenizer.convert_tokens_to_ids(AUDIO_TOKEN) == model.config.audio_token_id
    assert model.generation_config.do_sample is False
    assert not any(value.is_meta for value in model.state_dict().values())
    for value in model.state_dict().values():
        assert torch.isfinite(value).all()

    folder = tmp_path / "whole"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    again = MixingBuddyForConditionalGeneration.from_pretrained(folder)
    assert MixingBuddyProcessor.from_pretrained(folder).pooling_factor == 10
    for name, value in again.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_a_language_model_in_four_bits_is_trained_by_its_adapter(mert, language_model, trainer_for):
    from transformers import BitsAndBytesConfig
    from trl import ModelConfig

    from mixing_buddy.training.models import keep_trainables_in_float32, lora_config

    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    model, processor = from_parts(
        str(mert),
        str(language_model),
        quantization=four_bits,
        device_map="cpu",
        dtype=torch.float32,
        projector_hidden_sizes=[32],
        projector_dropouts=[0.0],
    )
    query = model.model.language_model.layers[0].self_attn.q_proj
    assert type(query).__name__ == "Linear4bit"
    assert not any("4bit" in type(module).__name__ for module in model.model.audio_tower.modules())
    trainer = trainer_for(
        model, processor, sample_rows(2), lora_config(ModelConfig(use_peft=True)), max_steps=3
    )
    keep_trainables_in_float32(trainer.model)
    trained = {n: p for n, p in trainer.model.named_parameters() if p.requires_grad}
    assert {value.dtype for value in trained.values()} == {torch.float32}
    before = {name: value.clone() for name, value in trained.items()}
    trainer.train()
    assert any(not value.equal(before[name]) for name, value in trained.items() if "lora" in name)
    assert all(torch.isfinite(value).all() for value in trained.values())


def test_a_vocabulary_without_room_for_the_audio_token_grows(mert, language_model):
    tokenizer = AutoTokenizer.from_pretrained(language_model)
    text = AutoModelForCausalLM.from_pretrained(language_model)
    text.resize_token_embeddings(len(tokenizer))
    text.save_pretrained(language_model)
    model, processor = from_parts(str(mert), str(language_model))
    assert model.config.audio_token_id == len(tokenizer)
    assert model.config.text_config.vocab_size == len(tokenizer) + 1
    assert model.lm_head.weight.shape[0] == len(tokenizer) + 1
    assert processor.tokenizer.encode(AUDIO_TOKEN) == [len(tokenizer)]


def test_the_class_itself_assembles_and_records_what_it_loaded(mert, language_model):
    model = MixingBuddyForConditionalGeneration.from_parts(
        str(mert), str(language_model), pooling_factor=5
    )
    assert model.config.pooling_factor == 5
    assert model.config.audio_name_or_path == str(mert)
    assert model.config.audio_revision == resolve_revision(str(mert))
    assert model.config.text_revision == resolve_revision(str(language_model))
    assert model.config.text_revision.startswith("folder:")


def test_a_folders_revision_follows_its_weights(mert, tmp_path):
    copy = writable_copy(mert, tmp_path / "mert")
    assert resolve_revision(str(copy)) == resolve_revision(str(mert))
    state = load_file(copy / "model.safetensors")
    state["encoder.layer_norm.weight"][0] += 1
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    assert resolve_revision(str(copy)) != resolve_revision(str(mert))


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_quantised_parts_listen_and_stay_close_to_the_original(mert, language_model, quantization):
    settings = {"dtype": torch.float32, "projector_hidden_sizes": [32], "projector_dropouts": [0.0]}
    torch.manual_seed(0)
    whole, processor = from_parts(str(mert), str(language_model), **settings)
    torch.manual_seed(0)
    small, _ = from_parts(str(mert), str(language_model), quantization=quantization, **settings)
    small.model.multi_modal_projector.load_state_dict(
        whole.model.multi_modal_projector.state_dict()
    )
    names = {
        type(module).__name__
        for name, module in small.named_modules()
        if "language_model.layers" in name and name.endswith("_proj")
    }
    assert names == {"Linear4bit" if quantization == "nf4" else "Linear8bitLt"}
    assert type(small.lm_head).__name__ == "Linear"
    batch = SFTCollator(processor)(sample_rows(2))
    batch.pop("labels"), batch.pop("stem_levels_labels_db")
    with torch.inference_mode():
        left, right = whole(**batch).logits, small(**batch).logits
    assert (left - right).norm() < 0.2 * left.norm()


def test_an_unknown_quantisation_is_named(mert, language_model):
    with pytest.raises(AssemblyError, match="'nf4' or 'int8'"):
        from_parts(str(mert), str(language_model), quantization="int4")


def test_a_missing_part_is_named(mert, tmp_path):
    with pytest.raises(AssemblyError, match="absent"):
        from_parts(str(mert), str(tmp_path / "absent"))
