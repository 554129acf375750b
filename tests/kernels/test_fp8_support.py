"""Which GPUs multiply FP8."""

from __future__ import annotations

import pytest
import torch

from swin_deploy.errors import Unavailable
from swin_deploy.kernels.fp8_support import refuse_without_fp8, unavailable


def test_it_begins_with_ada() -> None:
    assert unavailable((8, 9)) is None and unavailable((9, 0)) is None and unavailable((12, 0)) is None
    for capability in ((7, 5), (8, 0), (8, 6), (8, 7)):
        assert f"{capability[0]}.{capability[1]}" in str(unavailable(capability))


class OnGpu:
    """As much of a CUDA tensor as is looked at."""

    device = torch.device("cuda")


def test_an_older_gpu_is_refused_and_a_machine_without_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_without_fp8(torch.zeros(1))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refuse_without_fp8(OnGpu())  # type: ignore[arg-type]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))
    refuse_without_fp8(OnGpu())  # type: ignore[arg-type]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    with pytest.raises(Unavailable, match=r"8\.6"):
        refuse_without_fp8(OnGpu())  # type: ignore[arg-type]
