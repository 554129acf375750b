"""calib stands alone: NumPy and Pillow are all that it may import."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import calib

LOOK = """
import importlib, sys
before = set(sys.modules)
for name in {modules!r}:
    importlib.import_module(name)
loaded = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(loaded - set(sys.stdlib_module_names)))
"""


def loaded_by(*modules: str) -> set[str]:
    script = LOOK.format(modules=modules)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_every_module_needs_numpy_and_pillow_only() -> None:
    modules = [module.name for module in pkgutil.walk_packages(calib.__path__, "calib.")]
    assert len(modules) >= 8 and "calib.tools.step" in modules
    assert loaded_by(*modules) <= {"calib", "numpy", "PIL", "defusedxml"}  # Pillow takes defusedxml if it is there


def test_another_package_would_be_noticed() -> None:
    assert "pytest" in loaded_by("pytest")
