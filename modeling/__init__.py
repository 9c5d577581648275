"""The model, exactly as it goes to the Hub: every other file here is shipped as remote code.

Importing this package registers the classes with transformers, so that ``AutoModel...`` and
``AutoProcessor`` load a Mixing Buddy folder without ``trust_remote_code``.
"""

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    AutoProcessor,
)

from .configuration_mixing_buddy import MixingBuddyConfig, num_audio_frames, num_audio_tokens
from .feature_extraction_mixing_buddy import MixingBuddyFeatureExtractor
from .modeling_mixing_buddy import (
    MixingBuddyForConditionalGeneration,
    MixingBuddyModel,
    MixingBuddyPreTrainedModel,
)
from .processing_mixing_buddy import MixingBuddyProcessor

AutoConfig.register(MixingBuddyConfig.model_type, MixingBuddyConfig, exist_ok=True)
AutoModel.register(MixingBuddyConfig, MixingBuddyForConditionalGeneration, exist_ok=True)
AutoModelForCausalLM.register(MixingBuddyConfig, MixingBuddyForConditionalGeneration, exist_ok=True)
AutoModelForMultimodalLM.register(
    MixingBuddyConfig, MixingBuddyForConditionalGeneration, exist_ok=True
)
AutoFeatureExtractor.register(MixingBuddyConfig, MixingBuddyFeatureExtractor, exist_ok=True)
AutoProcessor.register(MixingBuddyConfig, MixingBuddyProcessor, exist_ok=True)

# A saved folder carries its own code, so that it also loads where this package is absent.
MixingBuddyConfig.register_for_auto_class()
MixingBuddyForConditionalGeneration.register_for_auto_class("AutoModelForMultimodalLM")
MixingBuddyFeatureExtractor.register_for_auto_class()
MixingBuddyProcessor.register_for_auto_class()

__all__ = [
    "MixingBuddyConfig",
    "MixingBuddyFeatureExtractor",
    "MixingBuddyForConditionalGeneration",
    "MixingBuddyModel",
    "MixingBuddyPreTrainedModel",
    "MixingBuddyProcessor",
    "num_audio_frames",
    "num_audio_tokens",
]
