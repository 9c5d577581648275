"""The mean of several models: what it holds, and what has none."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from mixing_buddy.advising.inference import MixingBuddy
from mixing_buddy.cli import app
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.modeling import MixingBuddyForConditionalGeneration
from mixing_buddy.training.averaging import average_models


@pytest.fixture
def parted(make_tiny_buddy, tmp_path):
    """Folders of three models, all of whose weights differ."""
    folders = []
    for seed in range(3):
        model, processor = make_tiny_buddy()
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        folders.append(tmp_path / f"model-{seed}")
        model.save_pretrained(folders[-1])
        processor.save_pretrained(folders[-1])
    return folders


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("shares", [None, [1.0, 1.0, 2.0], [0.1, 5.0, 0.3]])
def test_every_weight_is_the_mean(parted, tmp_path, shares):
    mean = weights(average_models(parted, tmp_path / "out", shares=shares))
    parts = [weights(folder) for folder in parted]
    fractions = torch.tensor(shares or [1.0] * 3, dtype=torch.float64)
    fractions /= fractions.sum()
    assert mean.keys() == parts[0].keys()
    for name, value in mean.items():
        expected = sum(f * part[name].double() for f, part in zip(fractions, parts, strict=True))
        torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-7)
        assert value.dtype == parts[0][name].dtype


def test_the_mean_of_a_model_with_itself_is_that_model(parted, tmp_path):
    mean = average_models([parted[0], parted[0]], tmp_path / "out")
    assert all(torch.equal(v, weights(parted[0])[n]) for n, v in weights(mean).items())


def test_weights_keep_the_data_type_of_the_first(parted, tmp_path):
    half = tmp_path / "half"
    shutil.copytree(parted[0], half)
    model = MixingBuddyForConditionalGeneration.from_pretrained(half, dtype=torch.bfloat16)
    model.save_pretrained(half)
    mean = weights(average_models([half, parted[1]], tmp_path / "out"))
    assert {value.dtype for value in mean.values()} == {torch.bfloat16}


def test_the_command_writes_a_model_that_gives_advice(parted, tmp_path, write_song):
    out = tmp_path / "out"
    arguments = ["average", *map(str, parted), "--out", str(out)]
    done = CliRunner().invoke(app, [*arguments, "--share", "1", "--share", "1", "--share", "2"])
    assert done.exit_code == 0, done.output
    assert str(out) in done.output
    assert not list(tmp_path.glob(".out-*"))
    advice = MixingBuddy.from_pretrained(out).advise(write_song(tmp_path / "song"))
    assert advice.text


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ([1.0], "3 models and 1 shares"),
        ([1.0, 1.0, 0.0], "above 0"),
        ([1.0, 1.0, -1.0], "above 0"),
        ([1.0, 1.0, math.nan], "above 0"),
        ([1.0, 1.0, math.inf], "above 0"),
    ],
)
def test_shares_must_fit(parted, tmp_path, shares, message):
    with pytest.raises(MixingBuddyError, match=message):
        average_models(parted, tmp_path / "out", shares=shares)


def test_one_model_has_no_mean(parted, tmp_path):
    with pytest.raises(MixingBuddyError, match="two models or more"):
        average_models(parted[:1], tmp_path / "out")


def test_what_exists_is_left_alone(parted, tmp_path):
    with pytest.raises(MixingBuddyError, match="exists already"):
        average_models(parted[:2], parted[2])


def edit_config(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_models_of_other_configuration_have_no_mean(parted, tmp_path):
    edit_config(parted[1], context_dropout=0.5)
    with pytest.raises(MixingBuddyError, match="context_dropout"):
        average_models(parted, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_training_alone_heeds_may_differ(parted, tmp_path):
    edit_config(parted[1], level_loss_weight=3.0)
    assert average_models(parted, tmp_path / "out").is_dir()


def test_models_with_other_tokens_have_no_mean(parted, tmp_path):
    path = parted[1] / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    one, other = list(vocabulary)[:2]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(MixingBuddyError, match="other tokens"):
        average_models(parted, tmp_path / "out")


def test_adapters_are_to_be_merged_first(parted, tmp_path):
    (parted[1] / "adapter_config.json").write_text("{}")
    with pytest.raises(MixingBuddyError, match="mixing-buddy merge"):
        average_models(parted, tmp_path / "out")


def test_a_model_that_lacks_weights_is_refused(parted, tmp_path):
    held = weights(parted[1])
    held.pop(next(name for name in held if "level_head" in name))
    save_file(held, parted[1] / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MixingBuddyError, match="lack"):
        average_models(parted, tmp_path / "out")
    assert not (tmp_path / "out").exists()
