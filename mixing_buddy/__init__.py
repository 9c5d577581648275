"""Mixing Buddy: gain-balance advice on a music mix, in an engineer's words.

``MixingBuddy`` and ``Advice`` are imported when first asked for, so that the command line answers
at once. Importing ``mixing_buddy.modeling`` registers the model's classes with transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mixing_buddy.version import __version__

if TYPE_CHECKING:
    from mixing_buddy.advice import Advice
    from mixing_buddy.advising.inference import MixingBuddy

_HOMES = {"Advice": "mixing_buddy.advice", "MixingBuddy": "mixing_buddy.advising.inference"}

__all__ = ["Advice", "MixingBuddy", "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
