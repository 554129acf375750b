"""A session of PyTorch tells its three phases on a GPU, by events; the events here are stand-ins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from swin_deploy.backends.torch_session import TorchSession
from swin_deploy.device.phase_times import PhaseTimes

IMAGES = np.ones((2, 3, 4, 4), np.float32)


def test_on_a_cpu_there_are_no_phases() -> None:
    session = TorchSession(lambda images: 2 * images, "cpu", ("y",))
    outputs, phases = session.timed(IMAGES)
    assert phases is None
    assert (outputs["y"] == 2).all()


def test_the_phases_lie_between_four_events(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    times = iter((1.0, 1.5, 5.5, 5.75))

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing
            self.at = 0.0

        def record(self) -> None:
            self.at = next(times)
            order.append("mark")

        def synchronize(self) -> None:
            order.append("wait")

        def elapsed_time(self, end: Event) -> float:
            return end.at - self.at

    def network(images: Any) -> Any:
        order.append("network")
        return images

    def moved(tensor: Any, device: str) -> Any:
        order.append(f"to {device}")
        return tensor

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.Tensor, "to", moved)
    outputs, phases = TorchSession(network, "cuda", ("y",)).timed(IMAGES)
    assert phases == PhaseTimes(0.5, 4.0, 0.25)
    assert order == ["mark", "to cuda", "mark", "network", "mark", "mark", "wait"]
    assert (outputs["y"] == 1).all()
