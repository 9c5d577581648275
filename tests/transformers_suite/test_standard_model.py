"""Our model under the common tests that every model of transformers must pass.

What is skipped, and why, stands in docs/transformers-tests.md.
"""

from __future__ import annotations

import unittest

import torch
from transformers_tests import import_tests

from mixing_buddy.modeling import (
    MixingBuddyConfig,
    MixingBuddyForConditionalGeneration,
    MixingBuddyModel,
)

common = import_tests("test_modeling_common")
configurations = import_tests("test_configuration_common")

# The tests ask these tables what kind of head a class has; ours are registered by class, not name.
for table, name in (
    ("MODEL_MAPPING_NAMES", MixingBuddyModel.__name__),
    ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", MixingBuddyForConditionalGeneration.__name__),
):
    setattr(common, table, {**getattr(common, table), MixingBuddyConfig.model_type: name})

VOCAB_SIZE = 99
AUDIO_TOKEN_ID = 3
NUM_SAMPLES = 4_800
NUM_BANDS = 8

draw_ids = common.ids_tensor


def draw_text(shape, vocab_size, **kwargs) -> torch.Tensor:
    """Draw tokens as they do, but never a placeholder, for which there would be no clip."""
    ids = draw_ids(shape, vocab_size, **kwargs)
    return ids.masked_fill(ids == AUDIO_TOKEN_ID, AUDIO_TOKEN_ID + 1)


common.ids_tensor = draw_text


class ModelTester:
    """Makes a tiny configuration and inputs for it: a clip for each of a few samples."""

    def __init__(self, parent):
        self.parent = parent
        # As many as a test would otherwise fill up with text that has no places for clips.
        self.batch_size = 7
        self.seq_length = 14
        self.is_training = True
        self.vocab_size = VOCAB_SIZE
        self.hidden_size = 32
        self.num_attention_heads = 4
        self.num_hidden_layers = 2
        self.encoder_seq_length = self.key_length = self.seq_length

    def get_config(self) -> MixingBuddyConfig:
        return MixingBuddyConfig(
            audio_config={
                "model_type": "hubert",
                "conv_dim": [8, 8, 16],
                "conv_kernel": [40, 16, 12],
                "conv_stride": [20, 8, 6],
                "hidden_size": 16,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 20,
                "num_conv_pos_embeddings": 8,
                "num_conv_pos_embedding_groups": 4,
                "hidden_dropout": 0.0,
                "attention_dropout": 0.0,
                "activation_dropout": 0.0,
            },
            text_config={
                "model_type": "qwen2",
                "vocab_size": VOCAB_SIZE,
                "hidden_size": self.hidden_size,
                "intermediate_size": 36,
                "num_hidden_layers": self.num_hidden_layers,
                "num_attention_heads": self.num_attention_heads,
                "num_key_value_heads": 2,
                "max_position_embeddings": 64,
                "bos_token_id": 0,
                "eos_token_id": 1,
                "pad_token_id": 2,
            },
            audio_token_id=AUDIO_TOKEN_ID,
            num_level_bands=NUM_BANDS,
            level_encoder_channels=[2, 3],
            level_encoder_strides=[1, 2],
            meter_channels=3,
            pooling_factor=2,
            projector_hidden_sizes=[24],
            projector_dropouts=[0.0],
        )

    def prepare_config_and_inputs_for_common(self):
        config = self.get_config()
        num_tokens = config.num_audio_tokens(NUM_SAMPLES)
        input_ids = common.ids_tensor([self.batch_size, self.seq_length], VOCAB_SIZE)
        input_ids[:, 1 : 1 + num_tokens] = AUDIO_TOKEN_ID
        attention_mask = torch.ones_like(input_ids)
        attention_mask[:, 0] = 0
        return config, {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "input_values": common.floats_tensor([self.batch_size, NUM_SAMPLES]),
            "input_features": common.floats_tensor([self.batch_size, 5, NUM_BANDS]),
        }


class StandardModelTest(common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (MixingBuddyModel, MixingBuddyForConditionalGeneration)
    _is_composite = True
    additional_model_inputs = ("input_values", "input_features")
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self):
        self.model_tester = ModelTester(self)
        self.config_tester = configurations.ConfigTester(
            self, config_class=MixingBuddyConfig, has_text_modality=False
        )

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if "labels" in inputs:
            # Without these the level head has nothing to learn, so no gradient.
            num_tokens = int((inputs["input_ids"] == AUDIO_TOKEN_ID).sum())
            inputs["stem_levels_labels_db"] = torch.full((num_tokens, 2, 4), -10.0)
        return inputs

    @unittest.skip("clips of unequal length are encoded apart: their attentions have no one shape")
    def test_get_audio_features_attentions(self):
        pass

    @unittest.skip("their tests of generation are not in the source distribution")
    def test_generation_tester_mixin_inheritance(self):
        pass

    def test_config(self):
        self.config_tester.run_common_tests()
