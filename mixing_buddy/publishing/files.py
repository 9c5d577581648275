"""Files that are to be published: where they lie, how large they are, what git calls them."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mixing_buddy.errors import PublishingError

# Access tokens of the Hub, GitHub, AWS and OpenAI, and private keys.
_SECRET = re.compile(
    rb"hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{36}|AKIA[0-9A-Z]{16}(?![0-9A-Za-z])"
    rb"|sk-[A-Za-z0-9_-]{40,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_BLOCK_BYTES = 2**20
# As much of a block is looked at again with the next, so that a secret across the border is found.
_OVERLAP_BYTES = 128


@dataclass(frozen=True)
class PlannedFile:
    """A file of a repository.

    Args:
        path: where it goes in the repository.
        content: the file on disk, or its bytes.
        size_bytes: its size.
        sha256: its SHA-256, the name that the Hub's storage for large files knows it by.
        blob_id: git's name of it.
        has_secret: whether it holds something that looks like an access token or a private key.
    """

    path: str
    content: Path | bytes
    size_bytes: int
    sha256: str
    blob_id: str
    has_secret: bool

    @property
    def suffix(self) -> str:
        """Extension of the name, with its dot."""
        return Path(self.path).suffix

    def read_text(self) -> str:
        """Return the content as text."""
        content = self.content
        data = content.read_bytes() if isinstance(content, Path) else content
        return data.decode("utf-8", errors="replace")


def plan_file(path: str, content: Path | str | bytes) -> PlannedFile:
    """Describe a file, reading it once.

    Args:
        path: where it goes in the repository.
        content: the file on disk (a link is followed), or its text or bytes.
    """
    if isinstance(content, str):
        content = content.encode()
    if isinstance(content, bytes):
        return _described(path, content, len(content), io.BytesIO(content))
    content = content.resolve()
    with content.open("rb") as file:
        return _described(path, content, content.stat().st_size, file)


def _described(path: str, content: Path | bytes, size_bytes: int, file: BinaryIO) -> PlannedFile:
    sha256, blob = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
    blob.update(f"blob {size_bytes}\0".encode())
    has_secret, end = False, b""
    while block := file.read(_BLOCK_BYTES):
        sha256.update(block)
        blob.update(block)
        has_secret = has_secret or _SECRET.search(end + block) is not None
        end = block[-_OVERLAP_BYTES:]
    return PlannedFile(path, content, size_bytes, sha256.hexdigest(), blob.hexdigest(), has_secret)


def list_folder(folder: Path) -> list[str]:
    """List the files below a folder, but for hidden ones and Python's leavings, by path.

    A `.gitignore` is hidden too: the Hub obeys it, and would drop files without a word.

    Raises:
        PublishingError: a link leads nowhere.
    """
    found = list(folder.rglob("*"))
    if broken := [path for path in found if path.is_symlink() and not path.exists()]:
        raise PublishingError(f"{broken[0]} is a link to {broken[0].readlink()}, which is missing.")
    paths = (path.relative_to(folder) for path in found if path.is_file())
    return sorted(
        path.as_posix()
        for path in paths
        if not any(part.startswith(".") or part == "__pycache__" for part in path.parts)
        and path.suffix != ".pyc"
    )


def plan_files(folder: Path, paths: Iterable[str]) -> list[PlannedFile]:
    """Describe files of a folder, which keep their paths."""
    return [plan_file(path, folder / path) for path in paths]
