"""The tests that transformers holds its own models to, taken from its source distribution.

They are not part of this repository. The folder comes from, in this order: the environment variable
`TRANSFORMERS_TESTS` (the folder `tests` of a source distribution or checkout of the installed
version), the cache of an earlier run, or pip, which downloads the source distribution once.

The source distribution has the tests of models, processors and feature extractors, but not
`generation/test_utils.py`, `exporters/test_export.py`, nor the helpers that other files import:
small stand-ins take their place, so that the rest can be imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
import unittest.mock
import warnings
from pathlib import Path
from types import ModuleType

import pytest
import transformers

PACKAGE = "transformers_tests_of_sdist"


def import_tests(name: str) -> ModuleType:
    """Import one file of transformers' tests; skips the test file that asks for it if it can't."""
    for library in ("parameterized", "soxr"):
        pytest.importorskip(library, reason=f"transformers' tests need {library}")
    if PACKAGE not in sys.modules:
        folder = _find_folder()
        package = ModuleType(PACKAGE)
        package.__path__ = [str(folder)]
        sys.modules[PACKAGE] = package
        _stand_in(folder, "generation/test_utils.py", GenerationTesterMixin=type("Absent", (), {}))
        _stand_in(folder, "exporters/test_export.py", ExportTesterMixin=type("Absent", (), {}))
        _stand_in(folder, "utils/test_configuration_utils.py", config_common_kwargs={})
        # A helper of their repository that maps addresses to downloaded files.
        helper = ModuleType("fetch_hub_objects_for_ci")
        helper.url_to_local_path = lambda url: url
        sys.modules.setdefault(helper.__name__, helper)
    # Their helper for this reads `tests/__init__.py`, which is not there either.
    without_helper = unittest.mock.patch.object(
        transformers.utils, "direct_transformers_import", lambda path: transformers
    )
    # Their own `conftest.py`, which is not ours to run, declares their marks.
    with without_helper, warnings.catch_warnings():
        warnings.simplefilter("ignore", pytest.PytestUnknownMarkWarning)
        return importlib.import_module(f"{PACKAGE}.{name}")


def _find_folder() -> Path:
    if given := os.environ.get("TRANSFORMERS_TESTS"):
        if not Path(given, "test_modeling_common.py").is_file():
            pytest.fail(f"TRANSFORMERS_TESTS={given} has no test_modeling_common.py", pytrace=False)
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    folder = cache / "mixing_buddy" / f"transformers-{transformers.__version__}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            _download(Path(temporary))
            (unpacked,) = Path(temporary, "unpacked").iterdir()
            try:
                unpacked.rename(folder)
            except OSError:  # another process was faster
                if not folder.is_dir():
                    raise
    return folder / "tests"


def _download(folder: Path) -> None:
    """Download transformers' source distribution and unpack its tests; skips if that fails."""
    requirement = f"transformers=={transformers.__version__}"
    options = ["--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "15"]
    pip = [sys.executable, "-m", "pip", "download", *options, "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*pip, "--no-binary", "transformers", "--dest", str(folder), requirement],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines() or ["pip failed"]
        pytest.skip(
            f"pip could not download the source distribution of {requirement}, which has its "
            f"tests, and TRANSFORMERS_TESTS names none: {reason[-1]}",
            allow_module_level=True,
        )
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        members = [each for each in tar if each.name.split("/")[1:2] == ["tests"]]
        tar.extractall(folder / "unpacked", members, filter="data")


def _stand_in(folder: Path, path: str, **content) -> None:
    """Put a module in the place of a file that is not there."""
    if (folder / path).is_file():
        return
    parent, name = path.removesuffix(".py").split("/")
    package = sys.modules.setdefault(f"{PACKAGE}.{parent}", ModuleType(f"{PACKAGE}.{parent}"))
    package.__path__ = [str(folder / parent)]
    module = ModuleType(f"{PACKAGE}.{parent}.{name}")
    vars(module).update(content)
    sys.modules[module.__name__] = module
