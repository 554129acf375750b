"""runner.py looks at the code of the bundle before it runs any of it, and at the Python that runs it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from board import ROOT, Board, write_bundle

RUNNER = ROOT / "swin_deploy/device/runner.py"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    write_bundle(folder)
    return folder


def run(bundle: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    return Board.make(tmp_path / "site", "10.3.0").run(bundle, "check")


def test_it_parses_as_python_3_6_so_that_an_older_board_is_told_what_it_needs() -> None:
    ast.parse(RUNNER.read_text(encoding="utf-8"), feature_version=(3, 6))


def test_an_old_python_is_status_3(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from swin_deploy.device import runner

    monkeypatch.setattr(sys, "version_info", (3, 6, 9))
    assert runner.main() == 3
    assert "Needed: 3.8 or later" in capsys.readouterr().err


def test_tampered_code_is_status_5_and_does_not_run(bundle: Path, tmp_path: Path) -> None:
    path = bundle / "lib/swin_deploy/device/finish.py"
    path.write_text("print('I RAN')\n" + path.read_text())
    found = run(bundle, tmp_path)
    assert found.returncode == 5
    assert "lib/swin_deploy/device/finish.py has SHA-256" in found.stderr
    assert "I RAN" not in found.stdout


@pytest.mark.parametrize("name", ["lib/numpy.py", "lib/swin_deploy/device/__pycache__/finish.cpython-311.pyc"])
def test_code_that_the_bundle_does_not_name_is_status_5(name: str, bundle: Path, tmp_path: Path) -> None:
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_text("print('I RAN')")
    found = run(bundle, tmp_path)
    assert (found.returncode, f"{name} is not part of the bundle" in found.stderr) == (5, True)
    assert "I RAN" not in found.stdout


def test_missing_code_and_a_missing_or_garbled_bundle_json_are_status_5(bundle: Path, tmp_path: Path) -> None:
    (bundle / "lib/calib/errors.py").unlink()
    found = run(bundle, tmp_path)
    assert (found.returncode, "lib/calib/errors.py cannot be read" in found.stderr) == (5, True)
    for content in ("{", "[]", '{"files": {}}', '{"files": {"lib/../x": {"sha256": ""}}}'):
        (bundle / "bundle.json").write_text(content)
        found = run(bundle, tmp_path)
        assert (found.returncode, "Error: " in found.stderr) == (5, True), content
        assert "Traceback" not in found.stderr
    (bundle / "bundle.json").unlink()
    assert run(bundle, tmp_path).returncode == 5


def test_a_board_without_numpy_is_status_3_and_told_what_to_install(bundle: Path, tmp_path: Path) -> None:
    board = Board.make(tmp_path / "site", "10.3.0")
    (board.site / "numpy.py").write_text("raise ImportError('no numpy here')")
    # Its imitation of the driver needs NumPy itself.
    (board.site / "sitecustomize.py").write_text("")
    found = board.run(bundle, "check")
    assert (found.returncode, "python3-numpy" in found.stderr) == (3, True)


def test_code_runs_with_a_numpy_that_has_no_typing_module_as_jetpack_5_brings_it(bundle: Path, tmp_path: Path) -> None:
    board = Board.make(tmp_path / "site", "10.3.0")
    site = board.site / "sitecustomize.py"
    site.write_text("import sys\nsys.modules['numpy.typing'] = None\n" + site.read_text())
    found = board.run(bundle, "finish")
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("name", ["hashlib.py", "argparse.py", "tensorrt.py"])
def test_a_file_beside_the_runner_is_never_imported(name: str, bundle: Path, tmp_path: Path) -> None:
    (bundle / name).write_text("raise SystemExit('I RAN')\n")
    site = Board.make(tmp_path / "site", "10.3.0")
    found = site.run(bundle, "finish", "--no-bench")
    assert (found.returncode, "I RAN" in found.stderr) == (0, False)


def test_the_build_does_not_import_from_the_working_folder(tmp_path: Path) -> None:
    from swin_deploy.device.build_in_child import _START

    (tmp_path / "json.py").write_text("raise SystemExit('I RAN')\n")
    command = [sys.executable, "-S", "-c", _START]  # without a job it ends at once
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ("I RAN" in found.stderr, "IndexError" in found.stderr) == (False, True)


def test_a_linked_folder_of_code_is_status_5(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil/__init__.py").write_text("print('I RAN')")
    (bundle / "lib/argparse").symlink_to(tmp_path / "evil")
    found = run(bundle, tmp_path)
    assert (found.returncode, "lib/argparse is not part of the bundle" in found.stderr) == (5, True)
    assert "I RAN" not in found.stdout


def test_a_terminal_that_cannot_show_a_name_is_no_failure(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = json.loads((bundle / "bundle.json").read_text())
    raw["fixtures"]["source"] = "4 images of \u5199\u771f.tar"
    (bundle / "bundle.json").write_text(json.dumps(raw))
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    found = Board.make(tmp_path / "site", "10.3.0").run(bundle, "finish", "--no-bench")
    assert (found.returncode, "\\u5199" in found.stdout) == (0, True), found.stderr
