"""Our modules import cheaply, with nothing heavy installed, and one way: cli -> swin_deploy -> calib."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("calib", "cli", "swin_deploy")
RUNTIMES = {
    "onnxruntime", "tensorrt", "tensorrt_bindings", "tensorrt_dispatch", "tensorrt_lean", "tensorrt_rtx",
    "tensorrt_rtx_libs", "torch_tensorrt",
}  # fmt: skip
HEAVY = RUNTIMES | {
    "jinja2", "markupsafe", "matplotlib", "onnx", "onnx_ir", "onnxscript", "onnxsim", "onnxslim", "rich", "safetensors",
    "timm", "torch", "torchvision", "transformers", "triton",
}  # fmt: skip
NEEDS_TORCH = ("swin_deploy.model.", "swin_deploy.kernels.")  # modules that define torch.nn modules

IMPORT_WITHOUT = """
import importlib, importlib.util, json, sys, traceback

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked by the test)", name=name)

blocked, modules = set(json.loads(sys.argv[1])), json.loads(sys.argv[2])
sys.meta_path.insert(0, Refuse())
asked = importlib.util.find_spec
# Who only asks is told that it is not there: torch's compiler asks for what it would not look into.
importlib.util.find_spec = lambda name, *of: None if name.partition(".")[0] in blocked else asked(name, *of)
failures = {}
for module in modules:
    try:
        importlib.import_module(module)
    except BaseException:
        failures[module] = traceback.format_exc(limit=-2)
print(json.dumps(failures))
"""


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_without(blocked: set[str], modules: list[str]) -> dict[str, str]:
    """Import `modules` in a fresh process in which the packages `blocked` cannot be found; returns what failed."""
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_WITHOUT, json.dumps(sorted(blocked)), json.dumps(modules)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    failures: dict[str, str] = json.loads(run.stdout)
    return failures


def test_every_module_is_importable_with_no_heavy_package_installed() -> None:
    modules = [name for name in map(module_name, sources()) if not name.startswith(NEEDS_TORCH)]
    modules.remove("swin_deploy.__main__")  # the same as the console script
    assert len(modules) > 30
    failures = import_without(HEAVY, modules)
    assert not failures, "\n".join(failures.values())


def test_the_model_needs_torch_and_nothing_else_that_is_heavy() -> None:
    modules = [name for name in map(module_name, sources()) if name.startswith(NEEDS_TORCH)]
    failures = import_without(HEAVY - {"torch", "triton"}, modules)
    # torch itself looks for some of these and goes on without them.
    assert not failures, "\n".join(failures.values())


def test_a_module_that_needs_a_blocked_package_would_be_noticed() -> None:
    assert set(import_without(HEAVY, ["swin_deploy.model.reference", "calib.errors"])) == {
        "swin_deploy.model.reference"
    }


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every module that is imported, at the top, inside a function or by `import_module("...")`, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used"
            yield node.module or "", node.lineno
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            argument = node.args[0]
            if called in {"import_module", "__import__"} and isinstance(argument, ast.Constant):
                yield str(argument.value), node.lineno


def broken_rule(importer: str, imported: str) -> str | None:
    """The rule that `importer` breaks by importing `imported`, or `None`."""
    package, target = importer.partition(".")[0], imported.partition(".")[0]
    if package == "calib" and target not in {"calib", "numpy", "PIL"} | sys.stdlib_module_names:
        return "calib takes NumPy and Pillow only"
    if package == "swin_deploy" and target == "cli" and importer != "swin_deploy.console":
        return "swin_deploy does not know cli"
    if target in RUNTIMES and not importer.startswith(("swin_deploy.backends.", "swin_deploy.device.")):
        return "runtimes are imported in swin_deploy/backends and swin_deploy/device only"
    if target in {"timm", "transformers", "torchvision"}:
        return "oracles are for tests"
    return None


@pytest.mark.parametrize("path", sources(), ids=lambda path: module_name(path))
def test_imports_run_one_way(path: Path) -> None:
    for imported, line in imports(ast.parse(path.read_text(encoding="utf-8"))):
        rule = broken_rule(module_name(path), imported)
        assert rule is None, f"{path.relative_to(ROOT)}:{line} imports {imported}: {rule}"


@pytest.mark.parametrize(
    ("importer", "code"),
    [
        ("calib.images", "import swin_deploy.errors"),
        ("calib.images", "def f():\n    import torch"),
        ("calib.images", "from cli import main"),
        ("swin_deploy.pipeline", "from cli.main import main"),
        ("swin_deploy.backends.base", "import cli"),
        ("swin_deploy.stages.build", "import tensorrt_rtx as trt"),
        ("swin_deploy.stages.build", "import importlib\nimportlib.import_module('onnxruntime.capi')"),
        ("cli.build", "from torch_tensorrt import dynamo"),
        ("swin_deploy.model.reference", "import timm"),
    ],
)
def test_an_import_the_wrong_way_would_be_noticed(importer: str, code: str) -> None:
    assert [broken_rule(importer, imported) for imported, _ in imports(ast.parse(code))][-1] is not None


@pytest.mark.parametrize(
    ("importer", "code"),
    [
        ("swin_deploy.console", "import cli.main"),
        ("swin_deploy.backends.tensorrt", "import tensorrt_rtx"),
        ("swin_deploy.errors", "from calib.errors import BadData"),
        ("cli.build", "from swin_deploy import pipeline"),
        ("calib.images", "import numpy as np\nfrom PIL import Image\nimport tarfile"),
    ],
)
def test_an_import_the_right_way_is_allowed(importer: str, code: str) -> None:
    assert all(broken_rule(importer, imported) is None for imported, _ in imports(ast.parse(code)))


@pytest.mark.parametrize("arguments", [["--help"], ["build", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from swin_deploy.console import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    status = end.code or 0\n"
        "print('LOADED', status, *{name.partition('.')[0] for name in sys.modules})"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    _, status, *loaded = run.stdout.splitlines()[-1].split()
    assert status == "0", run.stdout + run.stderr
    assert "swin_deploy" in loaded and "cli" in loaded
    assert not set(loaded) & (HEAVY | {"numpy", "PIL"})
