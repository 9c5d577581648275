"""The service as an ASGI application: one model, a bounded number of requests, advice as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from mixing_buddy.advising.inputs import open_song
from mixing_buddy.advising.reporting import to_json
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.serving.limits import Limits, Refusal
from mixing_buddy.serving.schemas import FORM, AdviceReply, ErrorReply, Health
from mixing_buddy.serving.uploads import Upload, receive
from mixing_buddy.version import __version__

if TYPE_CHECKING:
    from mixing_buddy.advising.inference import MixingBuddy

#: Songs in work at a time: while the model listens to one, another is decoded.
_NUM_WORKERS = 2

#: Seconds that a song is taken to need before one was advised on.
_FIRST_GUESS_S = 10.0


class Service:
    """A model that is loaded once, and the requests that share it.

    Args:
        load: loads the model; called once, in a thread.
        model_name: what the model is called to clients.
        limits: what a request may hold.
    """

    def __init__(self, load: Callable[[], MixingBuddy], *, model_name: str, limits: Limits):
        self.limits = limits
        self.error: Exception | None = None
        self._load = load
        self._model_name = model_name
        self._buddy: MixingBuddy | None = None
        self._num_threads = 1
        self._num_requests = 0
        self._song_s = _FIRST_GUESS_S
        self._workers: CapacityLimiter | None = None

    async def start(self, on_failure: Callable[[], None]) -> None:
        """Load the model.

        Args:
            on_failure: called where it can't be; `error` then says why.
        """
        self._workers = CapacityLimiter(_NUM_WORKERS)
        try:
            self._buddy = await to_thread.run_sync(self._load)
        except Exception as error:
            self.error = error
            on_failure()
            return
        import torch

        self._num_threads = torch.get_num_threads()

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded."""
        return self._buddy is not None

    def health(self) -> Health:
        """How the service is."""
        return Health(
            ready=self.is_ready,
            model=self._model_name,
            device=str(self._buddy.model.device) if self._buddy else None,
            version=__version__,
            num_requests=self._num_requests,
        )

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Take one of the places of requests in work, for as long as the context lasts.

        Raises:
            Refusal: all are taken, or the model is not loaded yet.
        """
        if not self.is_ready:
            raise Refusal(503, "The model is still being loaded.", retry_after_s=5)
        if self._num_requests >= self.limits.max_requests:
            raise Refusal(
                503,
                f"{self._num_requests} songs are in work, the limit here: ask again later.",
                retry_after_s=math.ceil(self._song_s * self._num_requests),
            )
        self._num_requests += 1
        try:
            yield
        finally:
            self._num_requests -= 1

    async def advise(self, upload: Upload) -> dict[str, Any]:
        """Advise on an upload, in a thread; see `mixing_buddy.advising.reporting.to_json`.

        Raises:
            MixingBuddyError: the files can't be advised on; its message names no folder.
        """
        return await to_thread.run_sync(self._advise, upload, limiter=self._workers)

    def _advise(self, upload: Upload) -> dict[str, Any]:
        import torch

        # A thread starts with the number that is set at that moment, which `resample` lowers.
        torch.set_num_threads(self._num_threads)
        start_s = time.monotonic()
        try:
            song = open_song(upload.song, mapping=upload.mapping)
            self.limits.check_song(song)
            song = replace(song, path=Path(upload.song.name if upload.is_mix else "tracks"))
            advice = self._buddy.advise(song, anchor=upload.anchor, measure=True)
        except Refusal:
            raise
        except MixingBuddyError as error:
            folder = str(upload.song.parent if upload.is_mix else upload.song)
            message = str(error).replace(f"{folder}/", "").replace(folder, "tracks")
            raise Refusal(422, message) from error
        self._song_s = time.monotonic() - start_s
        return to_json(
            song,
            advice,
            abstain_below=upload.abstain_below,
            iteration=None,
            applied=None,
            project=None,
            mode=self._buddy.usual_mode(song),
        )


def make_app(
    service: Service,
    *,
    hosts: Sequence[str] | None = None,
    on_failure: Callable[[], None] = lambda: None,
) -> FastAPI:
    """Make the application.

    Args:
        service: the model and its limits; loaded when the application starts.
        hosts: names by which clients may call it, None for any; others are turned away, so that no
            web page reaches a service on its reader's machine by a name of its own.
        on_failure: called where the model can't be loaded.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI):
        loading = asyncio.create_task(service.start(on_failure))
        yield
        await loading

    async def check_asker(request: Request) -> None:
        called = request.headers.get("host", "")
        if hosts is not None and urlsplit(f"//{called}").hostname not in hosts:
            raise Refusal(403, f"The service is not called {called!r}: ask {', '.join(hosts)}.")
        origin = request.headers.get("origin")
        if origin and urlsplit(origin).netloc != called:
            raise Refusal(403, "Pages of other sites may not ask here.")

    app = FastAPI(
        title="Mixing Buddy",
        summary="Gain-balance advice on a music mix.",
        version=__version__,
        lifespan=lifespan,
        dependencies=[Depends(check_asker)],
        redoc_url=None,
    )
    failures = {
        400: "The form can't be read, or an option is wrong.",
        403: "A page of another site asked, or by a name that is not the service's.",
        408: "The upload stopped.",
        413: "The upload, a file's length or its channels exceed a limit.",
        415: "No form, or a file that is no audio by its name.",
        422: "The files can't be advised on.",
        503: "Too many requests, or the model is being loaded: see Retry-After.",
        507: "The disk is full.",
    }

    @app.get("/health", summary="Whether the service is ready", responses={503: {"model": Health}})
    async def health() -> Health:
        """Tell the model, its device and the version; 503 until the model is loaded."""
        told = service.health()
        return JSONResponse(told.model_dump(), 200 if told.ready else 503)

    @app.post(
        "/advise",
        summary="Advise on a song",
        response_model=AdviceReply,
        responses={
            code: {"model": ErrorReply, "description": text} for code, text in failures.items()
        },
        openapi_extra={"requestBody": FORM},
    )
    async def advise(request: Request) -> JSONResponse:
        """Listen to a mix or to tracks and say which stem is too loud or too quiet.

        The files are kept in a temporary folder until the answer is sent.
        """
        with service.place(), tempfile.TemporaryDirectory(prefix="mixing-buddy-") as folder:
            upload = await receive(request.headers, request.stream(), Path(folder), service.limits)
            return JSONResponse(await service.advise(upload))

    @app.exception_handler(Refusal)
    async def refuse(_: Request, error: Refusal) -> JSONResponse:
        headers = {}
        if error.retry_after_s is not None:
            headers["Retry-After"] = str(error.retry_after_s)
        return JSONResponse({"error": str(error)}, error.status, headers)

    @app.exception_handler(HTTPException)
    async def turn_away(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(ClientDisconnect)
    async def let_go(_: Request, error: ClientDisconnect) -> JSONResponse:
        return JSONResponse({"error": "The client went away."}, 400)

    @app.exception_handler(OSError)
    async def stop_at_full_disk(_: Request, error: OSError) -> JSONResponse:
        if error.errno != errno.ENOSPC:
            raise error
        return JSONResponse({"error": "The disk of the service is full."}, 507)

    @app.exception_handler(Exception)
    async def fail(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": "Something went wrong here: see the service's log."}, 500)

    return app
