"""A stand-in Hub, and what is published on it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from published import (  # noqa: F401 - fixtures
    clone,
    datasets,
    place,
    published,
    report,
    tiny_folder,
    visited,
)
from server import stand_in_hub

from mixing_buddy.publishing.retries import Retries


@pytest.fixture
def hub():
    """A fresh stand-in; no request may reach it that it does not know."""
    with stand_in_hub() as hub:
        yield hub
        assert hub.unknown == []
        assert not any(each.authorised for each in hub.requests if each.origin == "storage")


@pytest.fixture
def online(monkeypatch) -> None:
    """Let this process talk to a stand-in: the other tests are offline."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def api_of(online) -> Callable:
    """Function that returns the client of a stand-in, with a token that may write by default."""
    from huggingface_hub import HfApi

    return lambda hub, token=None: HfApi(endpoint=hub.url, token=token or hub.write_token)


@pytest.fixture
def hasty() -> Retries:
    """Retries that don't wait."""
    return Retries(count=3, sleep=lambda seconds: None)
