"""Building a model from pretrained parts, with tiny folders of the real ones' structure."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from training_helpers import sample_rows
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from mixing_buddy.assembly import UnsupportedEncoderError, from_parts, load_audio_encoder
from mixing_buddy.modeling import MixingBuddyForConditionalGeneration, MixingBuddyProcessor
from mixing_buddy.tokenization import AUDIO_TOKEN, IM_END, train_tokenizer

CASES = ["a_base_group", "c_stable_relax"]


@pytest.fixture(params=CASES)
def mert(request, shared_dir):
    """Folder of a tiny MERT, with what its authors' own code makes of it."""
    return shared_dir / "fixtures" / "mert" / request.param


@pytest.fixture
def language_model(tmp_path):
    """Folder of a tiny Qwen2 with its tokenizer, which does not know the audio token."""
    folder = tmp_path / "qwen2"
    tokenizer = train_tokenizer(["The drums are too loud. Lower the drums."] * 3, 300)
    tokenizer.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (folder / name).read_text().replace(AUDIO_TOKEN, "<|spare|>")
        (folder / name).write_text(text)
    config = Qwen2Config(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        eos_token_id=tokenizer.convert_tokens_to_ids(IM_END),
    )
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


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
        mixed = model.model._encode(reference["input_values"])
    expected = sum(weight * state for weight, state in zip(weights, states, strict=True))
    torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("field", ["deepnorm", "feature_extractor_cqt"])
def test_an_encoder_that_computes_otherwise_is_refused(mert, tmp_path, field):
    folder = shutil.copytree(mert, tmp_path / "mert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").chmod(0o644)
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
        quantization_config=four_bits,
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
