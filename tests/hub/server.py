"""A stand-in for the Hub: repositories in memory, two origins, faults on demand.

The Hub answers on 127.0.0.1 and its storage on localhost, so that clients see two origins, as they
do in the world outside. What no client is known to ask for is answered with 501 and remembered.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from endpoints import ROUTES, Endpoints, Refused, Repository


@dataclass
class Fault:
    """What goes wrong with the next requests that fit."""

    method: str
    pattern: str
    action: str | Callable[[], None]
    left: int


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    origin: str
    method: str
    path: str
    authorised: bool


class StandInHub:
    """The Hub and its storage, on two loopback origins."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.collections: dict[str, dict] = {}
        self.storage: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.unknown: list[str] = []
        self.faults: list[Fault] = []
        self.tokens = {
            "hf_" + "w" * 34: {"role": "write"},
            "hf_" + "r" * 34: {"role": "read"},
        }
        self.write_token, self.read_token = self.tokens
        self.lock = threading.RLock()
        self._servers = [
            ThreadingHTTPServer(
                (host, 0), type("Handler", (_Handler,), {"hub": self, "part": part})
            )
            for host, part in (("127.0.0.1", "hub"), ("127.0.0.1", "storage"))
        ]
        hub, storage = (server.server_address[1] for server in self._servers)
        self.url, self.storage_url = f"http://127.0.0.1:{hub}", f"http://localhost:{storage}"

    def start(self) -> None:
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def fail(
        self, method: str, pattern: str, action: str | Callable[[], None], times: int = 1
    ) -> None:
        """Let the next requests go wrong.

        Args:
            method: of the requests.
            pattern: regular expression for their paths.
            action: "drop" (no answer, nothing done), "lose" (done, but no answer), a status such
                as "503", or something to do before the request is served.
            times: how many of them.
        """
        self.faults.append(Fault(method, pattern, action, times))

    def fault_for(self, method: str, path: str) -> str | Callable[[], None] | None:
        with self.lock:
            for fault in self.faults:
                if fault.left and fault.method == method and re.search(fault.pattern, path):
                    fault.left -= 1
                    return fault.action
        return None

    def commits(self, kind: str, name: str) -> list[str]:
        """Messages of a repository's commits, oldest first, without the one that creates it."""
        return [message for _, message, _ in self.repositories[kind, name].commits[1:]]

    def content(self, kind: str, name: str, path: str) -> bytes:
        blob = self.repositories[kind, name].files[path]
        return self.storage[blob.lfs] if blob.lfs else blob.content

    def snapshot(self) -> dict:
        return {key: (repo.head, dict(repo.tags)) for key, repo in self.repositories.items()}


@contextmanager
def stand_in_hub() -> Iterator[StandInHub]:
    """Run a stand-in Hub."""
    hub = StandInHub()
    hub.start()
    try:
        yield hub
    finally:
        hub.stop()


class _Handler(Endpoints, BaseHTTPRequestHandler):
    hub: StandInHub
    part: str
    protocol_version = "HTTP/1.1"
    # Head and body go out together: apart, each answer waits 40 ms for the client's receipt.
    wbufsize = 2**16

    def log_message(self, *args) -> None:
        pass

    def do_any(self) -> None:
        url = urlsplit(self.path)
        self.query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        path = unquote(url.path)
        body = self._read_body()
        authorisation = self.headers.get("Authorization")
        request = Request(self.part, self.command, path, authorisation is not None)
        with self.hub.lock:
            self.hub.requests.append(request)
        fault = self.hub.fault_for(self.command, path)
        if callable(fault):
            fault()
        elif fault == "drop":
            self.close_connection = True
            return
        elif fault not in (None, "lose"):
            self._send(int(fault), {"error": "a fault was asked for"})
            return
        try:
            with self.hub.lock:
                answer = self._route(path, body, authorisation)
        except Refused as refused:
            answer = (refused.status, refused.body, self._error_headers(refused))
        if fault == "lose":
            self.close_connection = True
            return
        self._send(*answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_any

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    @staticmethod
    def _error_headers(refused: Refused) -> dict[str, str]:
        headers = {"X-Error-Message": str(refused)}
        return headers | ({"X-Error-Code": refused.code} if refused.code else {})

    def _send(self, status: int, body: object = b"", headers: dict | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Length": str(len(data)), **(headers or {})}
        if not isinstance(body, bytes):
            headers.setdefault("Content-Type", "application/json")
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _route(self, path: str, body: bytes, authorisation: str | None) -> tuple:
        if self.part == "storage":
            return self._storage(path, body, authorisation)
        self.user = self._user(authorisation)
        for method, pattern, name in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command in method:
                return getattr(self, f"_{name}")(body, **found.groupdict())
        self.hub.unknown.append(f"{self.command} {self.path}")
        return 501, {"error": f"the stand-in knows nothing of {self.command} {path}"}, {}

    def _user(self, authorisation: str | None) -> dict | None:
        if authorisation is None:
            return None
        token = self.hub.tokens.get(authorisation.removeprefix("Bearer "))
        if token is None:
            raise Refused(401, "Invalid credentials in Authorization header")
        return token

    def _storage(self, path: str, body: bytes, authorisation: str | None) -> tuple:
        if authorisation is not None:
            return 400, {"error": "Only one auth mechanism allowed"}, {}
        sha256 = path.rpartition("/")[2]
        if self.command == "PUT":
            if hashlib.sha256(body).hexdigest() != sha256:
                return 400, {"error": "another content than was announced"}, {}
            self.hub.storage[sha256] = body
            return 200, b"", {}
        data = self.hub.storage[sha256]
        headers = {"Accept-Ranges": "bytes", "ETag": f'"{sha256}"'}
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not found:
            return 200, data, headers
        start, end = int(found[1]), min(int(found[2] or len(data)), len(data) - 1)
        if start >= len(data):
            return 416, b"", headers | {"Content-Range": f"bytes */{len(data)}"}
        headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        return 206, data[start : end + 1], headers
