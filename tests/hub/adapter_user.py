"""Somebody who has the package: trains an adapter on a published base, or loads a published one.

Usage:
    python adapter_user.py make BASE FOLDER
    python adapter_user.py load ADAPTER

The last line of stdout names the model's answers by their content.
"""

import hashlib
import sys


def make(base, folder):
    import torch
    from peft import LoraConfig, get_peft_model

    from mixing_buddy.modeling import MixingBuddyForConditionalGeneration, MixingBuddyProcessor
    from mixing_buddy.training.checkpoints import name_base
    from mixing_buddy.training.models import LORA_TARGETS

    torch.manual_seed(1)
    model = MixingBuddyForConditionalGeneration.from_pretrained(base)
    lora = LoraConfig(r=2, target_modules=LORA_TARGETS, init_lora_weights=False)
    adapted = get_peft_model(model, lora).eval()
    name_base(adapted, folder)
    adapted.save_pretrained(folder)
    MixingBuddyProcessor.from_pretrained(base).save_pretrained(folder)
    return adapted


def load(adapter):
    from mixing_buddy.training.checkpoints import load_adapter

    return load_adapter(adapter)[0].eval()


def logits_of(model):
    import torch

    tokens = torch.arange(20, 40)[None]
    with torch.inference_mode():
        logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
    return hashlib.sha256(logits.numpy().tobytes()).hexdigest()


if __name__ == "__main__":
    print(logits_of({"make": make, "load": load}[sys.argv[1]](*sys.argv[2:])))
