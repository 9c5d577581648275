"""Judges behind an OpenAI-compatible endpoint, or a provider of the Hub."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from mixing_buddy.errors import JudgingError
from mixing_buddy.judging.clients import Reply, Request, TransportError

# Statuses by which an endpoint says that it doesn't know an option.
_UNKNOWN_OPTION_STATUSES = frozenset({400, 422, 501})

# Statuses that no repetition changes: every other request would get them too.
_HOPELESS_STATUSES = frozenset({401, 403, 404})


class _StatusError(TransportError):
    """The endpoint answered with a status that is no success."""

    def __init__(
        self, kind: str, message: str, status: int, retry_after_s: float | None = None
    ) -> None:
        super().__init__(kind, message, retry_after_s)
        self.status = status


class _HttpClient:
    """What both clients share: options that an endpoint may not know, and errors.

    Endpoints differ in what they take: some know no `response_format`, some no `temperature`, some
    call `max_tokens` otherwise. An option that is refused is left out from then on and named in
    `left_out`.

    Args:
        model: id of the model, as the endpoint names it.
        place: where it is asked, for the cache.
        key: the key, which is kept out of every message; None for none.
        max_tokens: longest reply, in tokens.
        seed: given to the endpoint, which may heed it.
    """

    def __init__(
        self, model: str, place: str, key: str | None, *, max_tokens: int, seed: int
    ) -> None:
        self._model = model
        self._key = key
        self._lock = threading.Lock()
        self._options = {"max_tokens": max_tokens, "temperature": 0.0, "seed": seed}
        self.left_out: list[str] = []
        self.identity: Mapping[str, Any] = {"model": model, "place": place, **self._options}

    def ask(self, request: Request) -> Reply:
        """See `JudgeClient.ask`."""
        with self._lock:
            without = tuple(self.left_out)
        while True:
            try:
                reply = _read_completion(self._send(request, self._options_for(request, without)))
            except _StatusError as error:
                refused = self._refused_option(error, without)
                if refused is None:
                    raise
                without += (refused,)
                continue
            # Only now is it known that the option was at fault, not the question.
            with self._lock:
                self.left_out += [name for name in without if name not in self.left_out]
            return reply

    def _options_for(self, request: Request, without: tuple[str, ...]) -> dict[str, Any]:
        schema = {"name": request.schema_name, "schema": request.schema, "strict": True}
        options: dict[str, Any] = dict(self._options)
        options["response_format"] = {"type": "json_schema", "json_schema": schema}
        if "max_tokens" in without:
            options["max_completion_tokens"] = options["max_tokens"]
        return {name: value for name, value in options.items() if name not in without}

    def _refused_option(self, error: _StatusError, without: tuple[str, ...]) -> str | None:
        """Which option to try without: the one that is named, or the one fewest endpoints know."""
        if error.status not in _UNKNOWN_OPTION_STATUSES:
            return None
        left = [name for name in ("response_format", *self._options) if name not in without]
        named = [name for name in left if name in str(error)]
        guesses = [name for name in left if name == "response_format"]
        return next(iter(named or guesses), None)

    def _send(self, request: Request, options: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _failed(self, status: int, text: str, headers: Mapping[str, str]) -> Exception:
        message = self._clean(text)
        if status in _HOPELESS_STATUSES:
            return JudgingError(
                f"The endpoint answers {status}: {message} Is the address right, the model "
                f"{self._model!r} there, and the key in its environment variable?"
            )
        if status == 408 or status == 504:
            return _StatusError("timeout", message, status)
        if status == 429:
            return _StatusError("rate_limited", message, status, _retry_after_s(headers))
        kind = "server_error" if status >= 500 else "rejected"
        return _StatusError(kind, message, status, _retry_after_s(headers))

    def _clean(self, text: str) -> str:
        """The beginning of a message, without the key, should an endpoint repeat it."""
        if self._key:
            text = text.replace(self._key, "***")
        return " ".join(text.split())[:300]


class EndpointClient(_HttpClient):
    """An OpenAI-compatible endpoint: OpenAI's own, vLLM, llama.cpp, TGI, Ollama and others.

    `InferenceClient` would send the schema to an address in the dialect of one server, and the
    user's Hub token if no key is set; so the request is made here.

    Args:
        endpoint: base URL, as in ``http://localhost:8000/v1``; ``/v1`` is added to a bare host.
        model: id of the model, as the endpoint names it.
        key_variable: environment variable with the key; it may be unset only by default.
        timeout_s: longest silence to bear, in seconds.
        max_tokens: longest reply, in tokens.
        seed: given to the endpoint, which may heed it.

    Raises:
        JudgingError: the URL is none, or the variable is not set.
    """

    def __init__(
        self,
        endpoint: str,
        model: str,
        *,
        key_variable: str | None = None,
        timeout_s: float = 120.0,
        max_tokens: int = 512,
        seed: int = 0,
    ) -> None:
        # Comes with huggingface_hub, which asks the Hub by it.
        import httpx2

        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise JudgingError(f"{endpoint} is no URL: give one as http://localhost:8000/v1.")
        base = endpoint.rstrip("/") + ("" if parts.path.strip("/") else "/v1")
        super().__init__(
            model,
            base,
            _read_key(key_variable, "OPENAI_API_KEY"),
            max_tokens=max_tokens,
            seed=seed,
        )
        self._url = base.removesuffix("/chat/completions") + "/chat/completions"
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._http = httpx2.Client(headers=headers, timeout=timeout_s)

    def _send(self, request: Request, options: dict[str, Any]) -> Any:
        import httpx2

        messages = [dict(message) for message in request.messages]
        body = {"model": self._model, "messages": messages, **options}
        try:
            response = self._http.post(self._url, json=body)
        except httpx2.TimeoutException as error:
            raise TransportError("timeout", self._clean(str(error))) from None
        except httpx2.HTTPError as error:
            raise TransportError("unreachable", self._clean(str(error))) from None
        if not response.is_success:
            raise self._failed(response.status_code, response.text, response.headers)
        try:
            return response.json()
        except ValueError:
            raise TransportError("bad_response", self._clean(response.text)) from None


class HubClient(_HttpClient):
    """A model served by a provider of the Hub, by ``InferenceClient``.

    Args:
        model: Hub id of the model.
        provider: which provider; None lets the Hub choose.
        key_variable: environment variable with the token; without it the one that the user
            logged in with.
        timeout_s: longest silence to bear, in seconds.
        max_tokens: longest reply, in tokens.
        seed: given to the provider, which may heed it.

    Raises:
        JudgingError: the provider is unknown, the variable is not set, or the Hub's offline mode
            forbids requests.
    """

    def __init__(
        self,
        model: str,
        *,
        provider: str | None = None,
        key_variable: str | None = None,
        timeout_s: float = 120.0,
        max_tokens: int = 512,
        seed: int = 0,
    ) -> None:
        from huggingface_hub import InferenceClient, constants, get_token

        if constants.HF_HUB_OFFLINE:
            raise JudgingError(
                "HF_HUB_OFFLINE is set, and forbids asking the Hub: unset it, or give --endpoint."
            )
        key = _read_key(key_variable, "HF_TOKEN") or get_token()
        super().__init__(model, f"hub:{provider or 'auto'}", key, max_tokens=max_tokens, seed=seed)
        try:
            self._hub = InferenceClient(provider=provider, api_key=key, timeout=timeout_s)
        except ValueError as error:
            raise JudgingError(f"--provider {provider}: {error}") from error

    def _send(self, request: Request, options: dict[str, Any]) -> Any:
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError

        messages = [dict(message) for message in request.messages]
        # As extra fields, as the method lacks arguments that some providers need.
        try:
            completion = self._hub.chat_completion(messages, model=self._model, extra_body=options)
        except InferenceTimeoutError as error:
            raise TransportError("timeout", self._clean(str(error))) from None
        except HfHubHTTPError as error:
            response = error.response
            raise self._failed(response.status_code, str(error), response.headers) from None
        except httpx2.HTTPError as error:
            raise TransportError("unreachable", self._clean(str(error))) from None
        except (json.JSONDecodeError, TypeError) as error:
            raise TransportError("bad_response", self._clean(str(error))) from None
        except ValueError as error:
            # Before anything is sent: a key or a model that does not go with the provider.
            raise JudgingError(f"The Hub can't be asked: {self._clean(str(error))}") from None
        return dataclasses.asdict(completion)


def _read_key(variable: str | None, default: str) -> str | None:
    key = os.environ.get(variable or default)
    if not key and variable is not None:
        raise JudgingError(f"The environment variable {variable}, named for the key, is not set.")
    return key or None


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return None  # absent, or a date: the backoff's own wait will do


def _read_completion(data: Any) -> Reply:
    try:
        choice = data["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        if not isinstance(text, str):
            raise TypeError
        reason = choice.get("finish_reason")
        if not text and message.get("refusal"):
            reason = "content_filter"
        usage = data.get("usage") or {}
        return Reply(
            text=text.encode("utf-8", "replace").decode(),  # no halves of surrogate pairs
            finish_reason=reason if isinstance(reason, str) else None,
            input_tokens=_count(usage.get("prompt_tokens")),
            output_tokens=_count(usage.get("completion_tokens")),
        )
    except (KeyError, IndexError, TypeError, AttributeError):
        raise TransportError("bad_response", "no chat completion in what came back") from None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None
