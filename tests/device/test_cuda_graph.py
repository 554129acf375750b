"""Work captured once and started again, against an imitated driver."""

from __future__ import annotations

import pytest
from tensorrt_fakes import FakeDriver

from swin_deploy.device.cuda_graph import CudaGraph
from swin_deploy.device.cuda_memory import Device
from swin_deploy.errors import Unavailable


def test_captured_work_runs_when_it_is_launched_and_not_before() -> None:
    driver = FakeDriver()
    done: list[int] = []
    with Device(library=driver) as device:
        graph = CudaGraph(device, lambda: driver.capturing.append(lambda: done.append(1)))
        assert not done
        graph.launch()
        graph.launch()
        assert done == [1, 1]
        assert "executable graph" in driver.held
        graph.close()
        graph.close()  # a second time does nothing
    assert not driver.held


def test_work_that_waits_on_the_way_cannot_be_captured_and_leaves_the_stream_usable() -> None:
    driver = FakeDriver()
    with Device(library=driver) as device:
        with pytest.raises(Unavailable, match=r"cannot be captured.*900.*without a CUDA graph"):
            CudaGraph(device, device.synchronize)
        assert driver.capturing is None
        device.synchronize()
    assert not driver.held


def test_work_that_allocates_on_the_way_cannot_be_captured() -> None:
    with (
        Device(library=FakeDriver()) as device,
        pytest.raises(Unavailable, match="900"),
    ):
        CudaGraph(device, lambda: device.allocate(1) and None)


def test_a_graph_that_the_driver_does_not_instantiate_is_given_back() -> None:
    driver = FakeDriver(fails={"cuGraphInstantiateWithFlags": 801})
    with Device(library=driver) as device, pytest.raises(Unavailable, match="801"):
        CudaGraph(device, lambda: None)
    assert not driver.held
