"""The floor: its arithmetic is what PyTorch counts, and its traffic is counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.kernel_work import fused_kernels
from benchmarks.gpu.subject import entry_of, subject
from swin_deploy.benchmark.roofline import Ceilings, roofline_ms


@pytest.mark.parametrize("name", ["small_v1", "small_v2"])
def test_the_arithmetic_is_that_of_the_network_itself(name: str) -> None:
    network = subject(name)
    images = torch.zeros(3, 3, *network.spec.image_size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.deployment(images)
    assert sum(kernel.flop for kernel in fused_kernels(network.spec, 3)) == counter.get_total_flops()


def test_the_traffic_of_a_block_is_22_values_a_token_and_channel() -> None:
    spec = entry_of("swin_t").spec
    block = {kernel.name: kernel for kernel in fused_kernels(spec, 128) if kernel.name.startswith("stages.0.blocks.1")}
    tokens, dim = 128 * 3136, 96
    # qkv reads 1 and writes 3, attention 3 and 1, proj 1 + 1 and 1, fc1 1 and 4, fc2 4 + 1 and 1.
    streams = {"qkv": 4, "attention": 4, "proj": 3, "fc1": 5, "fc2": 6}
    weights = {"qkv": 3 * dim * dim, "attention": 3 * 49 * 49 + 64 * 49 * 49, "proj": dim * dim}
    weights |= {"fc1": 4 * dim * dim, "fc2": 4 * dim * dim}
    for name, values in streams.items():
        assert block[f"stages.0.blocks.1.{name}"].bytes == 2 * (values * tokens * dim + weights[name]), name


def test_int8_linears_read_half_the_bytes_and_multiply_at_another_rate() -> None:
    spec = entry_of("swin_t").spec
    plain, quantized = (
        {kernel.name: kernel for kernel in fused_kernels(spec, 1, "fp16", kind)} for kind in (None, "int8")
    )
    name = "stages.2.blocks.0.fc1"
    tokens, dim = 196, 384
    assert plain[name].bytes - quantized[name].bytes == tokens * dim + 4 * dim * dim
    assert (plain[name].precision, quantized[name].precision) == ("fp16", "int8")
    assert plain["head"] == quantized["head"]
    assert roofline_ms(quantized.values(), Ceilings("one", "measured", 1e12, {"fp16": 1e14})) is None  # no rate of INT8


def test_the_floor_of_swin_t_on_an_h100_is_the_one_that_is_known() -> None:
    # 3.0 TB/s and 750 TFLOP/s: about what an H100 does, where the floor was found to be 0.041, 0.744 and 2.96 ms.
    ceilings = Ceilings("H100", "measured", 3.0e12, {"fp16": 7.5e14})
    found = [roofline_ms(fused_kernels(entry_of("swin_t").spec, batch), ceilings) for batch in (1, 32, 128)]
    assert found == pytest.approx([0.041, 0.744, 2.96], rel=0.02)
