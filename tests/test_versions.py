"""Versions are read from package metadata; nothing heavy is imported for them."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import swin_deploy
from swin_deploy.versions import installed, machine


def test_an_installed_distribution_has_its_version_and_a_missing_one_says_so() -> None:
    found = installed("numpy", "no-such-distribution-of-ours")
    assert found == {
        "swin-deploy": swin_deploy.__version__,
        "numpy": metadata.version("numpy"),
        "no-such-distribution-of-ours": "not installed",
    }


def test_the_machine_is_described_in_words() -> None:
    described = machine()
    assert set(described) == {"system", "python", "processor", "gpu"}
    assert all(isinstance(value, str) and value for value in described.values())


def test_asking_for_versions_imports_nothing_heavy() -> None:
    program = (
        "import sys; from swin_deploy.versions import installed; installed('torch', 'onnx', 'onnxruntime'); "
        "raise SystemExit(bool({'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
