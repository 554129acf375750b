"""What the whole test suite shares: the option for the full test images, and the skipping of tests that need a GPU."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cifar10-test",
        metavar="DIR",
        type=Path,
        default=None,
        help="folder or tar of all 10,000 CIFAR-10 test images, one sub-folder a class; tests that want them are "
        "skipped without it",
    )
    parser.addoption(
        "--cifar10-swin-v2",
        metavar="CHECKPOINT",
        type=Path,
        default=None,
        help="a Swin V2 trained on CIFAR-10 with its side-car; tests that want it are skipped without it",
    )


@functools.cache
def _gpu_missing() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "no NVIDIA GPU that PyTorch can use"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is not None and (reason := _gpu_missing()) is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def cifar10_test(request: pytest.FixtureRequest) -> Path:
    """Where the 10,000 test images lie; without `--cifar10-test` the test is skipped."""
    place: Path | None = request.config.getoption("--cifar10-test")
    if place is None:
        pytest.skip("needs all 10,000 CIFAR-10 test images: --cifar10-test DIR")
    if not place.exists():
        pytest.fail(f"--cifar10-test: {place} does not exist")
    return place
