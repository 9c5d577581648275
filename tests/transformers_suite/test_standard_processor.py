"""Our processor and feature extractor under the common tests of transformers.

What is skipped, and why, stands in docs/transformers-tests.md.
"""

from __future__ import annotations

import unittest
import unittest.mock
from importlib import resources

import numpy as np
import soundfile
from transformers_tests import import_tests

from mixing_buddy.modeling import MixingBuddyFeatureExtractor, MixingBuddyProcessor
from mixing_buddy.presets import template_texts
from mixing_buddy.tokenization import AUDIO_TOKEN, train_tokenizer

processing = import_tests("test_processing_common")
extraction = import_tests("test_sequence_feature_extraction_common")


class StandardProcessorTest(processing.ProcessorTesterMixin, unittest.TestCase):
    processor_class = MixingBuddyProcessor
    audio_input_name = "input_values"

    @classmethod
    def setUpClass(cls):
        # Built-in processors carry no code; ours, once saved, names its own.
        for custom in (MixingBuddyProcessor, MixingBuddyFeatureExtractor):
            cls.enterClassContext(unittest.mock.patch.object(custom, "_auto_class", None))
        super().setUpClass()
        # Theirs are addresses.
        cls.clips = [f"{cls.tmpdirname}/{name}.wav" for name in ("first", "second")]
        rng = np.random.default_rng(0)
        for path in cls.clips:
            soundfile.write(path, rng.uniform(-0.5, 0.5, 4_800), 24_000)
        cls.enterClassContext(
            unittest.mock.patch.dict(processing.MODALITY_INPUT_DATA, audio=cls.clips)
        )

    @classmethod
    def _setup_feature_extractor(cls):
        return MixingBuddyFeatureExtractor(num_level_bands=8)

    @classmethod
    def _setup_tokenizer(cls):
        return train_tokenizer(template_texts(), vocab_size=512)

    @staticmethod
    def prepare_processor_dict():
        template = resources.files("mixing_buddy").joinpath("chat_template.jinja")
        return {"chat_template": template.read_text("utf-8"), "audio_token": AUDIO_TOKEN}

    @unittest.skip("the processor divides the clips of a sample by their common level on purpose")
    def test_subprocessor_defaults_3_audio(self):
        pass


class FeatureExtractionTester:
    """Makes settings of a feature extractor, and clips for it."""

    batch_size = 7
    feature_size = 1
    min_seq_length = 400
    max_seq_length = 2_000
    seq_length_diff = (max_seq_length - min_seq_length) // (batch_size - 1)

    def prepare_feat_extract_dict(self):
        return {"num_level_bands": 8, "feature_size": self.feature_size}

    def prepare_inputs_for_common(self, equal_length=False, numpify=False):
        rng = np.random.default_rng(0)
        lengths = range(self.min_seq_length, self.max_seq_length, self.seq_length_diff)
        if equal_length:
            lengths = [self.max_seq_length] * self.batch_size
        clips = [rng.standard_normal(length).astype(np.float32) for length in lengths]
        return clips if numpify else [clip.tolist() for clip in clips]


class StandardFeatureExtractionTest(
    extraction.SequenceFeatureExtractionTestMixin, unittest.TestCase
):
    feature_extraction_class = MixingBuddyFeatureExtractor

    def setUp(self):
        self.feat_extract_tester = FeatureExtractionTester()
