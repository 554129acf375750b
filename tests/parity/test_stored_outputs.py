"""Kept outputs come back under the key they were measured by, and under no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from swin_deploy.parity.measure import Outputs
from swin_deploy.parity.stored_outputs import read_outputs, write_outputs

OUTPUTS = Outputs({1: {"logits": np.ones((2, 3), np.float32)}, 8: {"logits": np.zeros((5, 3), np.float32)}}, 8, 0.5)


def test_outputs_come_back_by_batch_and_name(tmp_path: Path) -> None:
    write_outputs(tmp_path / "a.npz", "key", OUTPUTS)
    found = read_outputs(tmp_path / "a.npz", "key")
    assert found is not None and set(found) == {1, 8}
    assert np.array_equal(found[1]["logits"], OUTPUTS.by_batch[1]["logits"])


def test_another_key_is_another_measurement(tmp_path: Path) -> None:
    write_outputs(tmp_path / "a.npz", "key", OUTPUTS)
    assert read_outputs(tmp_path / "a.npz", "another") is None


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 torn"])
def test_a_missing_or_damaged_file_is_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.npz").write_bytes(content)
    assert read_outputs(tmp_path / "a.npz", "key") is None
