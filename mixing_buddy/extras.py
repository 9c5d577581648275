"""Libraries that only an extra of the package brings."""

from __future__ import annotations

import importlib
from types import ModuleType

from mixing_buddy.errors import MixingBuddyError


def import_extra(name: str, extra: str) -> ModuleType:
    """Import a library.

    Args:
        name: of the module.
        extra: extra of this package that installs it.

    Raises:
        MixingBuddyError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MixingBuddyError(
            f'{name} is not installed: pip install "mixing-buddy[{extra}]".'
        ) from error
