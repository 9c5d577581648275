"""Each distinct clip is encoded once, and nothing that the model computes changes."""

import numpy as np
import pytest
import torch
from training_helpers import sample_rows

from mixing_buddy.collation import SFTCollator, share_clips
from mixing_buddy.training.feature_cache import encode_once
from mixing_buddy.training.preference_collation import PreferenceCollator


def noise(num_samples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(num_samples).astype(np.float32)


@pytest.fixture
def count_encoded(monkeypatch):
    """Function that makes a model note how many clips it encodes."""

    def watch(model) -> list[int]:
        encoded: list[int] = []
        tower = model.model.audio_tower
        forward = tower.forward

        def counting(values, *args, **kwargs):
            encoded.append(len(values))
            return forward(values, *args, **kwargs)

        monkeypatch.setattr(tower, "forward", counting)
        return encoded

    return watch


def repeated_rows() -> list[dict]:
    """Four rows of which three hear the same clip."""
    rows = sample_rows(4)
    rows[2] |= {name: rows[0][name] for name in ("clips", "stem_powers")}
    rows[3] |= {name: rows[0][name] for name in ("clips", "stem_powers")}
    return rows


def unshared(batch: dict) -> dict:
    """The same batch with every clip at each of its places."""
    batch = dict(batch)
    index = batch.pop("clip_index")
    for name in ("input_values", "input_values_mask", "input_features"):
        if name in batch:
            batch[name] = batch[name][index]
    return batch


@pytest.mark.parametrize("frozen", [True, False])
def test_shared_clips_are_encoded_once_and_change_no_loss(
    make_tiny_buddy, count_encoded, monkeypatch, frozen
):
    model, processor = make_tiny_buddy()
    model.model.audio_tower.requires_grad_(not frozen)
    # Dropout must be drawn for each place of a clip as if the clip stood there.
    monkeypatch.setattr(model.model.multi_modal_projector.layers[-2], "p", 0.5)
    model.train()
    encoded = count_encoded(model)
    batch = SFTCollator(processor)(repeated_rows())
    assert batch["clip_index"].tolist() == [0, 1, 0, 0]
    assert len(batch["input_values"]) == len(batch["input_features"]) == 2
    losses, gradients = [], []
    for inputs in (batch, unshared(batch)):
        torch.manual_seed(0)
        model.zero_grad()
        loss = model(**inputs).loss
        loss.backward()
        losses.append(loss.item())
        gradients.append(model.model.multi_modal_projector.layers[0].weight.grad.clone())
    assert encoded == [2, 4]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-7)


def test_only_equal_samples_are_shared(tiny_buddy):
    _, processor = tiny_buddy
    clip = noise(12_000, 0)
    almost = clip.copy()
    almost[-1] = np.nextafter(almost[-1], np.float32(1.0))
    longer = np.append(clip, np.float32(0.0))
    batch = processor.feature_extractor([clip, almost, longer, clip], return_tensors="pt")
    shared = share_clips(batch)
    assert shared["clip_index"].tolist() == [0, 1, 2, 0]
    for name in ("input_values", "input_values_mask", "input_features"):
        assert torch.equal(shared[name][shared["clip_index"]], batch[name])


def test_a_batch_without_repeats_stays_as_it_is(tiny_buddy):
    _, processor = tiny_buddy
    batch = processor.feature_extractor([noise(9_000, 0), noise(12_000, 1)], return_tensors="pt")
    shared = share_clips(batch)
    assert set(shared) == set(batch)
    assert all(torch.equal(shared[name], batch[name]) for name in batch)


def test_the_clips_of_unequal_length_find_their_places(tiny_buddy):
    model, processor = tiny_buddy
    clips = [noise(length, seed) for seed, length in enumerate((24_000, 7_000, 31_001, 30_999))]
    batch = processor.feature_extractor([*clips, clips[1], clips[0]], return_tensors="pt")
    with torch.inference_mode():
        embeds = model.get_audio_features(**share_clips(batch)).pooler_output
        alone = [
            model.get_audio_features(
                **processor.feature_extractor([clip], return_tensors="pt")
            ).pooler_output
            for clip in (*clips, clips[1], clips[0])
        ]
    torch.testing.assert_close(embeds, torch.cat(alone), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_samples_that_no_frame_sees_part_no_clips(norm, make_tiny_buddy, count_encoded):
    model, processor = make_tiny_buddy(feat_extract_norm=norm, conv_bias=True)
    encoded = count_encoded(model)
    # Strides of 20, 8 and 6 samples: only with a group norm do samples beyond the last frame count.
    clips = [noise(24_000 + extra, extra) for extra in (0, 1, 19, 20)]
    batch = processor.feature_extractor(clips, return_tensors="pt")
    with torch.inference_mode():
        states = model.model.encode(batch["input_values"], [len(clip) for clip in clips])
        assert sorted(encoded) == ([1, 3] if norm == "group" else [4])
        for row, clip in enumerate(clips):
            outputs = model.model.audio_tower(
                torch.from_numpy(clip)[None], output_hidden_states=True
            )
            own = (*outputs.hidden_states[:-1], outputs.last_hidden_state)
            for state, expected in zip(states, own, strict=True):
                torch.testing.assert_close(state[row], expected[0], rtol=1e-4, atol=1e-5)


def test_several_answers_to_one_sample_encode_it_once(tiny_buddy, count_encoded):
    from mixing_buddy.conversations import to_messages

    model, processor = tiny_buddy
    encoded = count_encoded(model)
    messages = to_messages([noise(24_000, 0), noise(24_000, 1)], "Which stem is off?")
    inputs = processor.apply_chat_template(
        [messages], tokenize=True, return_dict=True, add_generation_prompt=True
    )
    length = {"max_new_tokens": 4, "min_new_tokens": 4}
    model.generate(**inputs, num_beams=3, num_return_sequences=3, do_sample=False, **length)
    assert encoded == [2]


def test_preference_pairs_encode_a_clip_once_for_both_answers_and_both_models(
    make_tiny_buddy, count_encoded
):
    model, processor = make_tiny_buddy()
    model.model.audio_tower.requires_grad_(False)
    rows = [
        {**row, "chosen": row["response"], "rejected": other["response"], "rejected_kind": kind}
        for row, other, kind in zip(
            sample_rows(2), sample_rows(4)[2:], ("false_alarm", "missed_flaw"), strict=True
        )
    ]
    batch = PreferenceCollator(processor)(rows)
    names = ("completion_mask", "rejected_kind")
    inputs = {name: value for name, value in batch.items() if name not in names}
    encoded = count_encoded(model)
    with torch.inference_mode():
        expected = model(**unshared(inputs)).logits
        once = encode_once(model, inputs)
        policy, reference = model(**once).logits, model(**once).logits
    assert encoded == [4, 2]
    assert torch.equal(policy, reference)
    torch.testing.assert_close(policy, expected, rtol=1e-4, atol=1e-5)
