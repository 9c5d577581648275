"""What repositories are called."""

from __future__ import annotations

from pathlib import PurePath

PREFIX = "mixing-buddy"
COLLECTION_TITLE = "Mixing Buddy"
#: `evaluate` looks for a script of the repository's own name.
METRIC_NAME = "gain_advice"
#: The namespace that the files of the repository name; another one takes its place when they are
#: published there.
WRITTEN_NAMESPACE = "mixingbuddy"


def dataset_id(name: str, namespace: str) -> str:
    """Return the Hub id of a dataset, given its folder's name or a Hub id."""
    return name if "/" in name else f"{namespace}/{prefixed(name)}"


def prefixed(name: str) -> str:
    """Return a repository's name for a folder's: ``nano`` is ``mixing-buddy-nano`` on the Hub."""
    name = PurePath(name).name
    return name if name.startswith(PREFIX) else f"{PREFIX}-{name}"
