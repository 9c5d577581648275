"""What the wheel holds, and what importing the package costs."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Where the wheel puts each folder of the repository that holds code.
PLACES = {
    "mixing_buddy": "mixing_buddy",
    "modeling": "mixing_buddy/modeling",
    "dataset_builder": "mixing_buddy/dataset_builder",
}


@pytest.fixture(scope="module")
def wheel_files(tmp_path_factory) -> set[str]:
    """Paths of the files in a wheel built from a copy: setuptools litters where it builds."""
    version = importlib.metadata.version("setuptools")
    if int(version.split(".")[0]) < 77:
        pytest.skip(f"pyproject.toml needs setuptools 77 or later to build, not {version}")
    copy = tmp_path_factory.mktemp("source")
    for name in PLACES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    folder = tmp_path_factory.mktemp("wheel")
    program = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    result = subprocess.run(
        [sys.executable, "-c", program, str(folder)], cwd=copy, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_wheel_has_one_package_at_its_top_level(wheel_files):
    top_level = {name.split("/")[0] for name in wheel_files}
    assert {name for name in top_level if not name.endswith(".dist-info")} == {"mixing_buddy"}


def test_wheel_has_every_file_of_the_package_and_no_other(wheel_files):
    expected = {
        f"{place}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, place in PLACES.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packaged = {name for name in wheel_files if name.startswith("mixing_buddy/")}
    assert packaged == expected


def test_wheel_has_the_licence(wheel_files):
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel_files)


@pytest.mark.parametrize("module", ["mixing_buddy", "mixing_buddy.cli"])
def test_import_loads_no_heavy_library(module, tmp_path):
    program = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    # From another folder, so that the installed package is what gets imported.
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    loaded = set(json.loads(output))
    assert module in loaded
    assert not loaded & {"datasets", "peft", "torch", "torchaudio", "transformers", "trl"}


@pytest.mark.parametrize("path", sorted((ROOT / "modeling").glob("*.py")), ids=lambda p: p.name)
def test_model_code_stands_without_the_package(path):
    """Checkpoints carry these files, and `trust_remote_code` follows flat relative imports only."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1 and "." not in (node.module or ""), ast.unparse(node)
            continue
        else:
            continue
        for name in names:
            assert name.split(".")[0] not in PLACES, f"line {node.lineno} imports {name}"
