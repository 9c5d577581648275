"""``mixing-buddy serve``: advice over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixing_buddy.cli.options import Device, Dtype, Quantization


def serve(
    model: Annotated[
        str | None,
        typer.Option(help="Folder or Hub id of a model; nano by default.", show_default=False),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Commit of the Hub id.", show_default=False)
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen at; 0 for any that is free.")
    ] = 8000,
    max_upload_mb: Annotated[
        float, typer.Option(min=0.001, help="Largest upload in MB, all files together.")
    ] = 500.0,
    max_files: Annotated[int, typer.Option(min=1, help="Most files of a song.")] = 64,
    max_minutes: Annotated[float, typer.Option(min=0.05, help="Longest song.")] = 30.0,
    max_channels: Annotated[int, typer.Option(min=1, help="Most channels of a file.")] = 8,
    max_requests: Annotated[
        int, typer.Option(min=1, help="Songs in work at a time; more are asked to come later.")
    ] = 6,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows heard at a time.")] = 16,
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantization: Quantization = None,
) -> None:
    """Answer requests for advice over HTTP, on this machine.

    POST /advise takes a mix or tracks and returns what `mixing-buddy advise --json` prints;
    GET /health says whether the model is loaded; /docs describes both.

    Examples:

    mixing-buddy serve

    curl -F mix=@my-song.mp3 -F anchor=drums http://127.0.0.1:8000/advise

    mixing-buddy serve --model runs/nano-large --port 8080 --max-minutes 10
    """
    from mixing_buddy.cli.options import load_buddy
    from mixing_buddy.serving.limits import Limits
    from mixing_buddy.serving.server import is_local
    from mixing_buddy.serving.server import serve as serve_model

    if not is_local(host):
        typer.echo(
            f"Warning: {host} can be reached from other machines, and there is neither password "
            "nor encryption: put a proxy that has both in front of it.",
            err=True,
        )
    serve_model(
        lambda: load_buddy(
            model, revision, batch_size, device=device, dtype=dtype, quantization=quantization
        ),
        # Where a model lies on this machine is nobody else's business.
        model_name="nano"
        if model is None
        else (Path(model).name if Path(model).exists() else model),
        limits=Limits(
            max_bytes=round(max_upload_mb * 1e6),
            max_files=max_files,
            max_duration_s=60.0 * max_minutes,
            max_channels=max_channels,
            max_requests=max_requests,
        ),
        host=host,
        port=port,
        tell=lambda text: typer.echo(text, err=True),
    )
