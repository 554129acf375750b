"""The wheel holds our three packages and nothing else, and the pins are complete."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("calib", "cli", "swin_deploy")
PINNED_EXTRAS = ("dev", "oracles", "report", "rtx", "torch-tensorrt")

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def build_wheel(sources: Path, out: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        out,
        sources,
    ]
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy, since setuptools leaves a build folder whose old files would get into the next wheel."""
    sources = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    for name in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    (sources / "utils").mkdir()  # stray things in a checkout must not get in
    (sources / "utils" / "__init__.py").touch()
    (sources / "climate").mkdir()
    (sources / "climate" / "__init__.py").touch()
    return build_wheel(sources, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_contains_three_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    version = metadata_of(wheel)["Version"]
    assert {name.split("/")[0] for name in names} == {*PACKAGES, f"swin_deploy-{version}.dist-info"}


def test_the_wheel_contains_every_module_and_the_type_markers(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for package in PACKAGES:
        for module in (ROOT / package).rglob("*.py"):
            assert module.relative_to(ROOT).as_posix() in names
        assert f"{package}/py.typed" in names


def test_the_wheel_contains_what_pages_are_made_of(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    parts = [path for kind in ("*.html", "*.css") for path in (ROOT / "swin_deploy").rglob(kind)]
    assert parts and {path.relative_to(ROOT).as_posix() for path in parts} <= names


def test_the_wheel_names_its_licence_and_brings_the_text(wheel: Path) -> None:
    assert metadata_of(wheel)["License-Expression"] == "Apache-2.0"
    with zipfile.ZipFile(wheel) as archive:
        (text,) = [name for name in archive.namelist() if name.endswith("/LICENSE")]
        assert archive.read(text) == (ROOT / "LICENSE").read_bytes()


def test_the_wheel_has_the_version_of_the_package_and_its_one_command(wheel: Path) -> None:
    import swin_deploy

    assert metadata_of(wheel)["Version"] == swin_deploy.__version__
    with zipfile.ZipFile(wheel) as archive:
        (entries,) = [name for name in archive.namelist() if name.endswith("/entry_points.txt")]
        parser = configparser.ConfigParser()
        parser.read_string(archive.read(entries).decode())
    assert dict(parser["console_scripts"]) == {"swin-deploy": "swin_deploy.console:main"}


def metadata_of(wheel: Path) -> metadata.PackageMetadata:
    (distribution,) = metadata.distributions(path=[str(wheel)])
    return distribution.metadata


def test_every_folder_with_modules_is_a_package() -> None:
    for package in PACKAGES:
        for module in (ROOT / package).rglob("*.py"):
            assert (module.parent / "__init__.py").is_file(), module


def constraint_lines() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def pins() -> dict[str, str]:
    """The pins that hold for this Python, by canonical name."""
    found: dict[str, str] = {}
    for line in constraint_lines():
        if line.marker is None or line.marker.evaluate():
            assert canonicalize_name(line.name) not in found, f"{line.name} is pinned twice"
            found[canonicalize_name(line.name)] = str(line.specifier)
    return found


def test_every_constraint_is_one_exact_version() -> None:
    for line in constraint_lines():
        assert re.fullmatch(r"==[0-9][0-9A-Za-z.]*", str(line.specifier)), line


def test_the_pins_cover_everything_that_set_up_installs() -> None:
    """Walks the requirements of what is installed; this environment must be the one that `make setup` makes."""
    wanted = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
    for extra in PINNED_EXTRAS:
        wanted += [Requirement(text) for text in PROJECT["project"]["optional-dependencies"][extra]]
    pinned, seen = pins(), set()
    while wanted:
        requirement = wanted.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen or (requirement.marker is not None and not requirement.marker.evaluate()):
            continue
        seen.add(key)
        assert key[0] in pinned, f"{requirement} is not pinned in constraints.txt"
        assert pinned[key[0]].removeprefix("==") in requirement.specifier, f"{requirement}: pinned {pinned[key[0]]}"
        for text in metadata.requires(requirement.name) or []:
            child = Requirement(text)
            if child.marker is None or any(
                child.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)
            ):
                child.marker = None
                wanted.append(child)
    assert len(seen) > 60


def test_nothing_is_pinned_that_set_up_does_not_install() -> None:
    for name, pin in pins().items():
        assert f"=={metadata.version(name)}" == pin


def test_the_extras_are_the_documented_ones() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    assert set(extras) == {"dev", "kernels", "oracles", "report", "rtx", "tensorrt", "torch-tensorrt"}
    core = {Requirement(text).name for text in PROJECT["project"]["dependencies"]}
    assert not core & {"timm", "transformers", "torchvision", "tensorrt", "tensorrt-rtx"}


@pytest.mark.parametrize("extra", ["tensorrt", "torch-tensorrt"])
@pytest.mark.parametrize(("machine", "wanted"), [("x86_64", True), ("aarch64", False)])
def test_what_has_no_aarch64_wheel_is_left_out_there(extra: str, machine: str, wanted: bool) -> None:
    (requirement,) = (Requirement(text) for text in PROJECT["project"]["optional-dependencies"][extra])
    assert requirement.marker is not None
    assert requirement.marker.evaluate({"platform_machine": machine}) is wanted
