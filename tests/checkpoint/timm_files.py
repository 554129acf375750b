"""timm-format checkpoints to load and to spoil."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from torch import Tensor

from swin_deploy.errors import ExplainedError
from tests.random_swin import random_reference, small_spec, timm_state

Weights = dict[str, Tensor]


def weights(family: Any, seed: int = 0, **changes: Any) -> Weights:
    """A timm state_dict of the small Swin of `family`."""
    return timm_state(random_reference(small_spec(family, **changes), seed))


def arguments(**changes: Any) -> dict[str, Any]:
    """The side-car of the small Swins."""
    return {"arguments": {"img_size": 28, "window_size": 7, **changes}}


def written(path: Path, state: Weights, sidecar: Any = None) -> Path:
    """Write safetensors and, unless it is `False`, a side-car."""
    save_file(state, path)
    if sidecar is not False:
        path.with_suffix(".json").write_text(json.dumps(arguments() if sidecar is None else sidecar), encoding="utf-8")
    return path


def explained(caught: pytest.ExceptionInfo[ExplainedError], *parts: str) -> str:
    """The message, after checking that it is whole, of the documented status, and holds every one of `parts`."""
    error = caught.value
    assert error.exit_code == 5
    assert error.seen
    assert error.needed
    assert error.do
    for part in parts:
        assert part in str(error), str(error)
    assert "\n" not in str(error)
    return str(error)
