"""What the wheel holds, and what importing the package costs."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import shutil
import subprocess
import sys
import sysconfig
import tarfile
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


# What a source distribution holds beside the package.
BESIDE = (
    "benchmarks",
    "configs",
    "docs",
    "examples",
    "metrics",
    "space",
    "tests",
    "CHANGELOG.md",
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "constraints.txt",
    "push_to_hub.py",
    "pyproject.toml",
    "setup.sh",
    "train_dpo.py",
    "train_hearing.py",
    "train_sft.py",
)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """A source distribution unpacked, made of a copy: setuptools litters where it builds."""
    version = importlib.metadata.version("setuptools")
    if int(version.split(".")[0]) < 77:
        pytest.skip(f"pyproject.toml needs setuptools 77 or later to build, not {version}")
    copy = tmp_path_factory.mktemp("source")
    for name in (*PLACES, *BESIDE):
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignored)
        elif (ROOT / name).is_file():
            shutil.copy(ROOT / name, copy / name)
    folder = tmp_path_factory.mktemp("sdist")
    _build("sdist", copy, folder)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """A wheel, made of the source distribution, as `python -m build` does."""
    folder = tmp_path_factory.mktemp("wheel")
    _build("wheel", sdist, folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _build(kind: str, source: Path, out: Path) -> None:
    program = (
        f"import sys; from setuptools.build_meta import build_{kind}; build_{kind}(sys.argv[1])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(out)], cwd=source, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def wheel_files(wheel) -> set[str]:
    """Paths of the files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_source_distribution_has_what_a_clone_has(sdist):
    for name in (*PLACES, *BESIDE):
        for path in [ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*"):
            hidden = any(part.startswith(".") for part in path.relative_to(ROOT).parts)
            if path.is_file() and "__pycache__" not in path.parts and not hidden:
                assert (sdist / path.relative_to(ROOT)).is_file(), path


def test_wheel_does_the_main_job_in_a_fresh_environment(wheel, tmp_path):
    """Its commands see the wheel and the libraries, and nothing of the repository."""
    fresh = tmp_path / "fresh"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(fresh)], check=True)
    (site,) = fresh.glob("lib/python*/site-packages")
    # Libraries alone: files .pth in there, such as that of an editable install, are not followed.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = str(fresh / "bin" / "python")
    install = ["--python", python, "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, capture_output=True)
    where = [python, "-c", "import mixing_buddy.modeling as m; print(m.__file__)"]
    asked = {"cwd": tmp_path, "capture_output": True, "text": True}
    assert str(site) in subprocess.run(where, **asked).stdout
    song = ROOT / "examples" / "generated"
    command = [str(fresh / "bin" / "mixing-buddy"), "advise", str(song), "--json"]
    done = subprocess.run([*command, "--fader", "vocals=-9"], **asked)
    assert done.returncode == 0, done.stderr
    advice = json.loads(done.stdout)
    assert (advice["stem"], advice["direction"]) == ("vocals", "raise")


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
