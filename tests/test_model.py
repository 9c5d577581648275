"""Laws of the model and its processor, on a tiny random model."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    AutoProcessor,
)

from mixing_buddy.conversations import to_messages
from mixing_buddy.modeling import (
    MixingBuddyFeatureExtractor,
    MixingBuddyForConditionalGeneration,
    MixingBuddyProcessor,
    num_audio_frames,
    num_audio_tokens,
)
from mixing_buddy.modeling.configuration_mixing_buddy import FEATURE_CENTRE_DB, FEATURE_SCALE_DB

SAMPLE_RATE = 24_000
MERT_STRIDES = {"conv_kernel": (10, 3, 3, 3, 3, 2, 2), "conv_stride": (5, 2, 2, 2, 2, 2, 2)}


def noise(duration_s: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(round(duration_s * SAMPLE_RATE)).astype(np.float32) * 0.1


def encode(processor, samples, *, answer: str | None = None, side: str = "left"):
    return processor.apply_chat_template(
        [to_messages(clips, "Which stem is off?", answer) for clips in samples],
        tokenize=True,
        return_dict=True,
        add_generation_prompt=answer is None,
        processor_kwargs={"padding_side": side},
    )


@pytest.fixture(params=["tiny", "mert-strides"])
def strided(request, tiny_buddy, tiny_mert_strides):
    return tiny_buddy if request.param == "tiny" else tiny_mert_strides


@settings(max_examples=40)
@given(num_samples=st.integers(2_400, 720_000), pooling_factor=st.integers(1, 12))
def test_token_count_is_the_pooled_number_of_convolution_frames(num_samples, pooling_factor):
    # Brute force: run the convolutions' index arithmetic on the real layers.
    clip = torch.zeros(1, 1, num_samples)
    for kernel, stride in zip(*MERT_STRIDES.values(), strict=True):
        clip = torch.nn.functional.avg_pool1d(clip, kernel, stride)
    assert num_audio_frames(num_samples, *MERT_STRIDES.values()) == clip.shape[-1]
    expected = math.ceil(clip.shape[-1] / pooling_factor)
    tokens = num_audio_tokens(num_samples, **MERT_STRIDES, pooling_factor=pooling_factor)
    assert tokens == expected


def test_processor_and_model_agree_on_tokens_for_every_clip_length(strided):
    model, processor = strided
    lengths = [2_400, 2_401, *range(9_997, 720_000, 88_811), 720_000]
    for num_samples in lengths:
        inputs = encode(processor, [[noise(num_samples / SAMPLE_RATE)]])
        placeholders = int((inputs["input_ids"] == model.config.audio_token_id).sum())
        with torch.inference_mode():
            embeds = model.get_audio_features(
                inputs["input_values"], inputs["input_values_mask"], inputs["input_features"]
            ).pooler_output
        assert placeholders == len(embeds) == processor.num_audio_tokens(num_samples)


def test_placeholders_and_audio_must_match(tiny_buddy):
    model, processor = tiny_buddy
    inputs = encode(processor, [[noise(1.0)]])
    with pytest.raises(ValueError, match="audio tokens"):
        model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    inputs["input_ids"][0, -1] = model.config.audio_token_id
    with pytest.raises(ValueError, match="audio tokens"):
        model(**inputs)
    with pytest.raises(ValueError, match="audio"):
        processor(text="<|audio|> and <|audio|>", audio=[noise(1.0)])


def test_batched_equals_single_whatever_lengths_and_number_of_clips(tiny_buddy):
    model, processor = tiny_buddy
    samples = [[noise(2.0, 1)], [noise(0.7, 2), noise(3.1, 3)], [noise(0.2, 4)]]
    batch = encode(processor, samples)
    with torch.inference_mode():
        together = model(**batch).logits[:, -1]
        for index, clips in enumerate(samples):
            alone = model(**encode(processor, [clips])).logits[0, -1]
            torch.testing.assert_close(together[index], alone, atol=1e-5, rtol=1e-4)


def test_generation_with_cache_equals_without(tiny_buddy):
    model, processor = tiny_buddy
    inputs = encode(processor, [[noise(2.0, 1)], [noise(0.7, 2), noise(3.1, 3)]])
    arguments = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False}
    cached = model.generate(**inputs, use_cache=True, **arguments)
    assert torch.equal(cached, model.generate(**inputs, use_cache=False, **arguments))


def test_every_returned_sequence_hears_its_own_clips(tiny_buddy):
    model, processor = tiny_buddy
    inputs = encode(processor, [[noise(1.0, 1), noise(2.0, 2)], [noise(1.5, 3)]])
    _, expanded = model._expand_inputs_for_generation(expand_size=2, **inputs)
    assert expanded["clip_index"].tolist() == [0, 1, 0, 1, 2, 2]
    assert expanded["input_values"] is inputs["input_values"]
    arguments = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False}
    beams = model.generate(**inputs, num_beams=2, num_return_sequences=2, **arguments)
    alone = encode(processor, [[noise(1.0, 1), noise(2.0, 2)]])
    first = model.generate(**alone, num_beams=2, num_return_sequences=2, **arguments)
    width = first.shape[1]
    assert torch.equal(beams[:2, -width:], first)


def test_saved_equals_reloaded(tiny_buddy, tmp_path):
    model, processor = tiny_buddy
    inputs = encode(processor, [[noise(1.0)]])
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with torch.inference_mode():
        expected = model(**inputs).logits
    again = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(again, MixingBuddyProcessor)
    inputs = encode(again, [[noise(1.0)]])
    for auto in (AutoModel, AutoModelForCausalLM, AutoModelForMultimodalLM):
        reloaded = auto.from_pretrained(tmp_path).eval()
        assert isinstance(reloaded, MixingBuddyForConditionalGeneration)
        with torch.inference_mode():
            assert torch.equal(reloaded(**inputs).logits, expected)
    AutoConfig.from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
    saved = (tmp_path / "config.json").read_text()
    assert (tmp_path / "again" / "config.json").read_text() == saved


REMOTE = """
import sys


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "mixing_buddy":
            raise ModuleNotFoundError(f"No module named {name!r}")


sys.meta_path.insert(0, Absent())

import numpy as np
import torch
from transformers import (
    AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMultimodalLM, AutoProcessor,
)

folder = sys.argv[1]
trust = {"trust_remote_code": True}
processor = AutoProcessor.from_pretrained(folder, **trust)
clip = np.load(folder + "/clip.npy")
messages = [{"role": "user", "content": [
    {"type": "audio", "audio": clip}, {"type": "text", "text": "Which stem is off?"},
]}]
inputs = processor.apply_chat_template(
    messages, tokenize=True, return_dict=True, add_generation_prompt=True
)
logits = []
for auto in (AutoModel, AutoModelForCausalLM, AutoModelForMultimodalLM):
    model = auto.from_pretrained(folder, **trust).eval()
    assert type(model).__module__.startswith("transformers_modules")
    with torch.inference_mode():
        logits.append(model(**inputs).logits.numpy())
assert "mixing_buddy" not in sys.modules
np.save(folder + "/logits.npy", np.stack(logits))
"""


def test_remote_code_loads_where_the_package_is_absent(tiny_buddy, tmp_path, monkeypatch):
    model, processor = tiny_buddy
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    clip = noise(1.0)
    np.save(folder / "clip.npy", clip)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = subprocess.run(
        [sys.executable, "-c", REMOTE, str(folder)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    content = [{"type": "audio", "audio": clip}, {"type": "text", "text": "Which stem is off?"}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        return_dict=True,
        add_generation_prompt=True,
    )
    with torch.inference_mode():
        expected = model(**inputs).logits.numpy()
    for logits in np.load(folder / "logits.npy"):
        np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_level_of_the_whole_sample_changes_nothing(tiny_buddy):
    _, processor = tiny_buddy
    clips = [noise(1.0, 1), noise(1.0, 2)]
    quiet = encode(processor, [[clip * 0.01 for clip in clips]])
    loud = encode(processor, [clips])
    torch.testing.assert_close(loud["input_values"], quiet["input_values"])
    torch.testing.assert_close(loud["input_features"], quiet["input_features"])


def test_level_between_the_clips_of_a_sample_survives(tiny_buddy):
    _, processor = tiny_buddy
    clip = noise(2.0)
    features = encode(processor, [[clip, clip * 10 ** (-6 / 20)]])["input_features"]
    difference_db = (features[0] - features[1]) * FEATURE_SCALE_DB
    torch.testing.assert_close(
        difference_db, torch.full_like(difference_db, 6.0), atol=1e-3, rtol=0
    )


def test_level_features_sum_to_the_power_of_the_clip():
    extractor = MixingBuddyFeatureExtractor(num_level_bands=32, **MERT_STRIDES)
    time_s = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tone = np.sin(2 * np.pi * 1000.0 * time_s).astype(np.float32)  # mean square 1/2: -3.01 dB
    features = extractor.level_features(tone)[5:-5]
    level_db = features * FEATURE_SCALE_DB + FEATURE_CENTRE_DB
    total_db = 10 * np.log10((10 ** (level_db / 10)).sum(-1))
    np.testing.assert_allclose(total_db, -3.01, atol=0.1)


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (np.zeros(0, np.float32), "at least one sample"),
        (np.full(2_400, np.nan, np.float32), "NaN"),
        (np.zeros((2, 3, 4), np.float32), "shape"),
    ],
)
def test_bad_clips_are_named(tiny_buddy, clip, message):
    _, processor = tiny_buddy
    with pytest.raises(ValueError, match=message):
        processor(text="<|audio|>", audio=[clip])


def test_stereo_lists_and_tensors_are_heard_like_arrays(tiny_buddy):
    _, processor = tiny_buddy
    clip = noise(0.5)
    expected = processor(text="<|audio|>", audio=[clip])["input_values"]
    for same in (np.stack([clip, clip]), torch.from_numpy(clip), clip.tolist()):
        assert torch.allclose(processor(text="<|audio|>", audio=[same])["input_values"], expected)


def test_wrong_sample_rate_is_refused():
    with pytest.raises(ValueError, match="24000 Hz"):
        MixingBuddyFeatureExtractor()(noise(1.0), sampling_rate=44_100)


def test_level_loss_reaches_the_projector_but_not_the_language_model(tiny_buddy):
    model, processor = tiny_buddy
    inputs = encode(processor, [[noise(1.0)]], answer="The bass is too loud.", side="right")
    num_tokens = processor.num_audio_tokens(SAMPLE_RATE)
    labels_db = torch.linspace(-20.0, 0.0, num_tokens * 8).reshape(num_tokens, 2, 4)
    labels_db[..., 2] = float("nan")
    output = model(**inputs, labels=inputs["input_ids"], stem_levels_labels_db=labels_db)
    projector = model.model.multi_modal_projector.layers[0].weight
    query = model.model.language_model.layers[0].self_attn.q_proj.weight
    gradient, none = torch.autograd.grad(output.level_loss, [projector, query], allow_unused=True)
    assert gradient.abs().sum() > 0
    assert none is None
    known = [0, 1, 3]
    expected = ((output.stem_levels_db - labels_db)[..., known] / 10).square().mean()
    torch.testing.assert_close(output.level_loss, expected)
