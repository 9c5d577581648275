"""Adapters: what they hold, which base they go on, and what merging makes of them."""

import json
import shutil

import pytest
import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file
from training_helpers import sample_rows
from transformers import AutoModelForMultimodalLM, Qwen2ForCausalLM
from trl import ModelConfig
from typer.testing import CliRunner

from mixing_buddy.advising.inference import MixingBuddy
from mixing_buddy.assembly import from_parts
from mixing_buddy.cli import app
from mixing_buddy.collation import SFTCollator
from mixing_buddy.modeling import MixingBuddyForConditionalGeneration, MixingBuddyProcessor
from mixing_buddy.training.checkpoints import (
    AdapterError,
    is_adapter,
    load_adapter,
    merge_adapter,
    name_base,
)
from mixing_buddy.training.models import keep_trainables_in_float32, lora_config

SMALL = {"projector_hidden_sizes": [32], "projector_dropouts": [0.0], "pooling_factor": 5}


@pytest.fixture
def mert(shared_dir, tmp_path):
    """A copy of the tiny MERT with the large one's structure."""
    folder = tmp_path / "mert"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(shared_dir / "fixtures" / "mert" / "c_stable_relax" / name, folder / name)
    return folder


def train(base, processor, trainer_for, folder):
    """Train an adapter for two steps, as `train_sft.py` does, and save it."""
    trainer = trainer_for(
        base, processor, sample_rows(2), lora_config(ModelConfig(use_peft=True)), max_steps=2
    )
    keep_trainables_in_float32(trainer.model)
    trainer.train()
    trainer.save_model(str(folder))
    return trainer.model.eval()


@pytest.fixture
def trained(mert, language_model, trainer_for, tmp_path):
    """The folder of an adapter on parts, the model that was trained, and a batch."""
    base, processor = from_parts(str(mert), str(language_model), dtype=torch.float32, **SMALL)
    model = train(base, processor, trainer_for, tmp_path / "adapter")
    return tmp_path / "adapter", model, batch_for(processor)


def batch_for(processor):
    batch = SFTCollator(processor)(sample_rows(2))
    return {name: value for name, value in batch.items() if "labels" not in name}


def logits_of(model, batch):
    with torch.inference_mode():
        return model(**batch).logits


def test_an_adapter_says_what_it_was_trained_on_and_holds_no_base_weights(trained, mert):
    folder, model, _ = trained
    assert is_adapter(folder)
    assert not (folder / "model.safetensors").exists()
    config = json.loads((folder / "config.json").read_text())
    assert config["audio_name_or_path"] == str(mert)
    assert config["audio_revision"] == model.config.audio_revision
    assert config["text_revision"].startswith("folder:")
    held = load_file(folder / "adapter_model.safetensors")
    parts = {name.split(".")[3] for name in held if "lora_" not in name}
    assert parts == {"multi_modal_projector", "layer_mix", "level_head"}
    assert all("language_model.layers" in name for name in held if "lora_" in name)
    trainable = sum(value.numel() for value in model.parameters() if value.requires_grad)
    assert sum(value.numel() for value in held.values()) == trainable


def test_a_loaded_adapter_gives_the_very_logits_it_was_saved_with(trained):
    folder, model, batch = trained
    again, processor = load_adapter(folder, dtype=torch.float32)
    assert processor.pooling_factor == 5
    assert torch.equal(logits_of(again.eval(), batch), logits_of(model, batch))
    assert not any(value.requires_grad for value in again.parameters())
    trainable, _ = load_adapter(folder, is_trainable=True)
    assert any(value.requires_grad for value in trainable.parameters())


def test_a_merged_model_loads_by_itself_and_answers_alike(trained, tmp_path):
    folder, model, batch = trained
    done = CliRunner().invoke(app, ["merge", str(folder), str(tmp_path / "out"), "--dtype=float32"])
    assert done.exit_code == 0, done.output
    merged = AutoModelForMultimodalLM.from_pretrained(tmp_path / "out").eval()
    assert type(merged) is MixingBuddyForConditionalGeneration
    assert not any("lora" in name for name, _ in merged.named_parameters())
    torch.testing.assert_close(
        logits_of(merged, batch), logits_of(model, batch), atol=1e-5, rtol=1e-5
    )
    assert (tmp_path / "out" / "modeling_mixing_buddy.py").is_file()
    assert (tmp_path / "out" / "assembly_mixing_buddy.py").is_file()
    assert MixingBuddyProcessor.from_pretrained(tmp_path / "out").pooling_factor == 5
    with pytest.raises(AdapterError, match="exists already"):
        merge_adapter(folder, tmp_path / "out")


def test_merging_in_half_precision_halves_every_weight(trained, tmp_path):
    merge_adapter(trained[0], tmp_path / "out", dtype="bfloat16")
    held = load_file(tmp_path / "out" / "model.safetensors")
    assert {value.dtype for value in held.values()} == {torch.bfloat16}


def test_another_state_of_the_base_is_refused(trained, language_model):
    folder, *_ = trained
    text = Qwen2ForCausalLM.from_pretrained(language_model)
    with torch.no_grad():
        text.model.norm.weight.add_(0.1)
    text.save_pretrained(language_model)
    with pytest.raises(AdapterError, match=r"trained on revision folder:.*load that revision"):
        load_adapter(folder)


def test_a_base_that_moved_can_be_given(trained, mert, language_model, tmp_path):
    folder, model, batch = trained
    mert.rename(tmp_path / "elsewhere")
    with pytest.raises(AdapterError, match="can't be loaded"):
        load_adapter(folder)
    base, _ = from_parts(
        str(tmp_path / "elsewhere"), str(language_model), dtype=torch.float32, **SMALL
    )
    again, _ = load_adapter(folder, base=base)
    assert torch.equal(logits_of(again.eval(), batch), logits_of(model, batch))


def test_an_adapter_on_a_whole_model_names_its_folder(make_tiny_buddy, trainer_for, tmp_path):
    model, processor = make_tiny_buddy()
    model.save_pretrained(tmp_path / "whole")
    processor.save_pretrained(tmp_path / "whole")
    base = MixingBuddyForConditionalGeneration.from_pretrained(tmp_path / "whole")
    base.config.trained_modes = ["stems"]
    trained = train(base, processor, trainer_for, tmp_path / "adapter")
    written = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert written["base_model_name_or_path"] == str(tmp_path / "whole")
    assert written["revision"].startswith("folder:")
    again, _ = load_adapter(tmp_path / "adapter")
    batch = batch_for(processor)
    assert torch.equal(logits_of(again.eval(), batch), logits_of(trained, batch))
    # What the adapter learnt, of which the model that it was begun from knows nothing.
    assert again.get_base_model().config.trained_modes == ["stems"]


def test_an_adapter_on_a_model_that_was_never_saved_is_refused(make_tiny_buddy, tmp_path):
    model, processor = make_tiny_buddy()
    adapted = get_peft_model(model, lora_config(ModelConfig(use_peft=True)))
    name_base(adapted, tmp_path)
    adapted.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match="names no base"):
        load_adapter(tmp_path)


def test_listening_with_an_adapter_is_listening_with_the_merged_model(trained, tmp_path):
    folder, *_ = trained
    merge_adapter(folder, tmp_path / "out", dtype="float32")
    adapted = MixingBuddy.from_pretrained(folder, dtype=torch.float32)
    merged = MixingBuddy.from_pretrained(tmp_path / "out")
    assert not isinstance(adapted.model, PeftModel)
    clips = [row["clips"] for row in sample_rows(2)]
    asked = ["Which stem is off?"] * 2
    assert adapted.answer(clips, asked) == merged.answer(clips, asked)


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_whole_models_and_adapters_listen_in_few_bits(trained, tmp_path, quantization):
    folder, *_ = trained
    merge_adapter(folder, tmp_path / "out", dtype="float32")
    clips, asked = [sample_rows(1)[0]["clips"]], ["Which stem is off?"]
    for source in (tmp_path / "out", folder):
        buddy = MixingBuddy.from_pretrained(source, quantization=quantization, device="cpu")
        query = buddy.model.model.language_model.layers[0].self_attn.q_proj
        kind = type(getattr(query, "base_layer", query)).__name__
        assert kind == {"nf4": "Linear4bit", "int8": "Linear8bitLt"}[quantization]
        encoder = buddy.model.model.audio_tower.encoder.layers[0].attention.k_proj
        assert type(encoder) is torch.nn.Linear
        assert len(buddy.answer(clips, asked)) == 1


def test_half_precision_listens_and_stays_close(trained, tmp_path):
    folder, _, batch = trained
    whole = MixingBuddy.from_pretrained(folder, dtype="float32", device="cpu")
    half = MixingBuddy.from_pretrained(folder, dtype="bfloat16", device="cpu")
    assert half.model.lm_head.weight.dtype == torch.bfloat16
    left, right = logits_of(whole.model, batch), logits_of(half.model, batch).float()
    assert (left - right).norm() < 0.05 * left.norm()
    assert len(half.answer([sample_rows(1)[0]["clips"]], ["Which stem is off?"])) == 1
