"""The console script runs our command line or refuses; it never runs another distribution's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from swin_deploy.console import foreign_package

ROOT = Path(__file__).resolve().parents[1]


def run_module(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m swin_deploy` in `folder`, which comes first on Python's path."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "swin_deploy", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment,
    )


def test_the_module_runs_the_command_line(tmp_path: Path) -> None:
    run = run_module(tmp_path, "--help")
    assert run.returncode == 0, run.stderr
    assert "build" in run.stdout


def test_the_script_and_the_module_say_the_same(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("swin-deploy")
    if not script.exists():
        pytest.skip("swin-deploy is not installed beside this Python")
    run = subprocess.run([script, "--version"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (run.returncode, run.stdout) == (0, run_module(tmp_path, "--version").stdout)


@pytest.mark.parametrize("name", ["cli", "calib"])
def test_a_foreign_package_is_refused_without_running_it(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    foreign = tmp_path / name / "__init__.py"
    foreign.write_text("raise RuntimeError('foreign code ran')")
    run = run_module(tmp_path, "--help")
    assert run.returncode == 3
    assert "foreign code ran" not in run.stderr and "Traceback" not in run.stderr
    assert str(foreign) in run.stderr and str(ROOT / name) in run.stderr
    assert "Needed:" in run.stderr and "environment of its own" in run.stderr
    assert run.stdout == ""


@pytest.mark.parametrize("name", ["cli", "calib"])
def test_a_foreign_module_in_one_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("raise RuntimeError('foreign code ran')")
    run = run_module(tmp_path, "--help")
    assert run.returncode == 3
    assert f"{name}.py" in run.stderr and "foreign code ran" not in run.stderr


def test_a_plain_folder_named_cli_in_the_way_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "cli").mkdir()  # without __init__.py Python prefers the real package further on
    run = run_module(tmp_path, "--help")
    assert run.returncode == 0, run.stderr


def test_a_foreign_package_in_our_own_place_is_refused(tmp_path: Path) -> None:
    """Two distributions that install into one site-packages overwrite each other's `cli/__init__.py`."""
    site = tmp_path / "site-packages"
    for name in ("swin_deploy", "calib", "cli"):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").touch()
    for name in ("console.py", "__main__.py"):
        (site / "swin_deploy" / name).write_bytes((ROOT / "swin_deploy" / name).read_bytes())
    (site / "calib" / "errors.py").touch()
    run = subprocess.run([sys.executable, "-m", "swin_deploy"], capture_output=True, text=True, check=False, cwd=site)
    assert run.returncode == 3
    assert str(site / "cli" / "__init__.py") in run.stderr
    (site / "cli" / "main.py").write_text("def main():\n    return 7\n")  # now it is whole
    run = subprocess.run([sys.executable, "-m", "swin_deploy"], capture_output=True, text=True, check=False, cwd=site)
    assert (run.returncode, run.stderr) == (7, "")


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swin_deploy.console.find_spec", lambda name: None)
    assert foreign_package("cli") == "nowhere: it is not installed"


@pytest.mark.parametrize("name", ["cli", "calib"])
def test_our_own_packages_pass(name: str) -> None:
    assert foreign_package(name) is None
