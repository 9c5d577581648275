"""What a judge is asked and says, whoever it is: `http_clients` and `local_client` ask."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

#: Why no reply came, with what each means.
TRANSPORT_FAILURES: dict[str, str] = {
    "timeout": "no reply came in time",
    "rate_limited": "the endpoint asked to slow down (429), to the last attempt",
    "server_error": "the endpoint failed (5xx), to the last attempt",
    "unreachable": "no connection, or it broke off",
    "rejected": "the endpoint did not take the request (4xx)",
    "bad_response": "what came back is no chat completion",
}

#: Failures that may pass by themselves.
_PASSING = frozenset({"timeout", "rate_limited", "server_error", "unreachable", "bad_response"})


@dataclass(frozen=True)
class Request:
    """One question.

    Args:
        messages: the chat, each message with `role` and `content`.
        schema: JSON schema of the reply.
        schema_name: name of the schema.
    """

    messages: Sequence[Mapping[str, str]]
    schema: Mapping[str, Any]
    schema_name: str

    @property
    def num_characters(self) -> int:
        """Length of the texts of the chat."""
        return sum(len(message["content"]) for message in self.messages)


@dataclass(frozen=True)
class Reply:
    """What a model said.

    Args:
        text: the reply, empty where the model gave none.
        finish_reason: why it stopped ("stop", "length", "content_filter"), if that is known.
        input_tokens: length of the question in tokens, if that is known.
        output_tokens: length of the reply in tokens, if that is known.
    """

    text: str
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class TransportError(Exception):
    """No reply came.

    Args:
        kind: a key of `TRANSPORT_FAILURES`.
        message: what the library said, without tokens.
        retry_after_s: how long the endpoint asked to wait.
    """

    def __init__(self, kind: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after_s = retry_after_s

    @property
    def may_pass(self) -> bool:
        """Whether asking again may help."""
        return self.kind in _PASSING


class JudgeClient(Protocol):
    """A model that can be asked.

    Attributes:
        identity: what, beside the request, decides the reply; part of its key in the cache.
        left_out: options of the identity that the model did not take.
    """

    identity: Mapping[str, Any]
    left_out: Sequence[str]

    def ask(self, request: Request) -> Reply:
        """Ask once.

        Raises:
            TransportError: no reply came.
            JudgingError: none ever will, such as where the key is wrong.
        """


def request_key(client: JudgeClient, request: Request) -> str:
    """Name a request by its content: the same question to the same model has the same key."""
    content = {
        "judge": dict(client.identity),
        "messages": [dict(message) for message in request.messages],
        "schema": request.schema,
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
