"""What a bundle carries is all that its runner needs, and nothing that a board does not have."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from swin_deploy.bundle.closure import foreign_imports, import_closure

ROOT = Path(__file__).resolve().parents[2]
# NumPy at the top; the others inside functions, where they are there.
ON_A_BOARD = {"numpy"}
LAZY = {"onnxruntime"}
BY_NAME = {"tensorrt", "tensorrt_rtx", "jtop", "torch"}


def test_the_closure_is_this_room_and_what_errors_and_files_need() -> None:
    files = import_closure()
    rooms = {file.rpartition("/")[0] for file in files}
    assert {"calib", "swin_deploy", "swin_deploy/device", "swin_deploy/device/telemetry"} <= rooms
    assert {file for file in files if not file.startswith("swin_deploy/device/")} <= {
        "calib/__init__.py",
        "calib/errors.py",
        "swin_deploy/__init__.py",
        "swin_deploy/artifact.py",
        "swin_deploy/atomic.py",
        "swin_deploy/errors.py",
    }
    assert "swin_deploy/device/tensorrt_build.py" in files, "the child of a build is started by its name"


def test_it_imports_the_standard_library_numpy_and_the_runtimes() -> None:
    foreign = foreign_imports(import_closure()) - sys.stdlib_module_names
    assert foreign == ON_A_BOARD | LAZY


def test_what_is_imported_by_name_is_what_a_board_may_have() -> None:
    named = set()
    for file in import_closure():
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
            called = isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module")
            if called and isinstance(node.args[0], ast.Constant):
                named.add(str(node.args[0].value).partition(".")[0])
    assert named <= BY_NAME


def test_only_numpy_is_imported_when_the_modules_are() -> None:
    modules = [file[:-3].replace("/", ".").replace(".__init__", "") for file in import_closure()]
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & "
        "{'onnxruntime', 'onnx', 'torch', 'tensorrt', 'tensorrt_rtx', 'jtop', 'PIL', 'click', 'rich'}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (run.returncode, run.stdout.strip()) == (0, "[]"), run.stderr


@pytest.mark.parametrize("file", [*import_closure(), "swin_deploy/device/runner.py"])
def test_every_file_parses_as_python_3_8_and_leaves_numpys_types_to_type_checkers(file: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"), feature_version=(3, 8))
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and id(node) not in guarded:
            assert all(alias.name != "numpy.typing" for alias in node.names), "JetPack 5 has NumPy 1.17"


def test_nothing_in_it_needs_a_later_python() -> None:
    vermin = Path(sys.executable).with_name("vermin")
    if not vermin.is_file():
        pytest.skip("vermin is not installed")
    command = [str(vermin), "--target=3.8-", "--violations", "--no-tips", *import_closure()]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 0, run.stdout


def test_imports_inside_functions_count_and_those_for_type_checkers_do_not(tmp_path: Path) -> None:
    package = tmp_path / "swin_deploy"
    (package / "inner").mkdir(parents=True)
    for place in (package, package / "inner"):
        (place / "__init__.py").write_text("")
    (package / "a.py").write_text(
        "from typing import TYPE_CHECKING\nimport json\n"
        "if TYPE_CHECKING:\n    from swin_deploy import d\n    import onnx\n"
        "def f():\n    from swin_deploy.inner.b import value\n"
    )
    (package / "inner/b.py").write_text("from swin_deploy.inner import c\nvalue = 1\n")
    (package / "inner/c.py").write_text("try:\n    import torch\nexcept ImportError:\n    pass\n")
    (package / "d.py").write_text("")
    files = import_closure("swin_deploy.a", root=tmp_path)
    assert files == tuple(
        f"swin_deploy/{name}" for name in ("__init__.py", "a.py", "inner/__init__.py", "inner/b.py", "inner/c.py")
    )
    assert foreign_imports(files, tmp_path) == {"json", "torch", "typing"}
