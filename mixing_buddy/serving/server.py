"""Listening at an address until Ctrl-C."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from mixing_buddy.errors import ServiceError

if TYPE_CHECKING:
    from mixing_buddy.advising.inference import MixingBuddy
    from mixing_buddy.serving.limits import Limits


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(
    load: Callable[[], MixingBuddy],
    *,
    model_name: str,
    limits: Limits,
    host: str = "127.0.0.1",
    port: int = 8000,
    tell: Callable[[str], None] = print,
) -> None:
    """Serve advice until it is interrupted; answers in work are finished first.

    Args:
        load: loads the model.
        model_name: what it is called to clients.
        limits: what a request may hold.
        host: address to listen at.
        port: port to listen at; 0 for any that is free.
        tell: says where the service is.

    Raises:
        ServiceError: the address can't be listened at, or FastAPI is not installed.
        MixingBuddyError: the model can't be loaded.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ServiceError(
            f"{host}, port {port} can't be listened at ({error.strerror}): give another by --port."
        ) from error
    with listening:
        try:
            import uvicorn

            from mixing_buddy.serving.app import Service, make_app
        except ImportError as error:
            raise ServiceError(
                f'{error.name} is not installed: pip install "mixing-buddy[serve]".'
            ) from error
        service = Service(load, model_name=model_name, limits=limits)
        # Its name is checked only where nobody else is to come in: others' names are not known.
        hosts = sorted({"localhost", "127.0.0.1", "::1", host}) if is_local(host) else None

        def stop() -> None:
            server.should_exit = True

        app = make_app(service, hosts=hosts, on_failure=stop)
        server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning"))
        address = f"[{host}]" if family == socket.AF_INET6 else host
        url = f"http://{address}:{listening.getsockname()[1]}"
        tell(f"Serving {model_name} at {url} (POST {url}/advise; {url}/docs; Ctrl-C stops).")
        try:
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            tell("Stopped.")
    if service.error is not None:
        raise service.error
