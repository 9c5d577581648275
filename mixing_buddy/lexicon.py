"""The words that `parse_advice` knows, as data."""

from __future__ import annotations

from importlib import resources
from typing import Any


def load_lexicon() -> dict[str, Any]:
    """Read ``templates/advice_lexicon.yaml``; its comments say what each list means."""
    import yaml

    path = resources.files("mixing_buddy").joinpath("templates", "advice_lexicon.yaml")
    return yaml.safe_load(path.read_text("utf-8"))
