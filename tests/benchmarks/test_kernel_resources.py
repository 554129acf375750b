"""The default tiles fit every architecture: nothing spills, and shared memory suffices."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks.kernel_resources import MODELS, launched_kernels, spills, summary, table
from swin_deploy.kernels.ahead_of_time import ARCHITECTURES, Compiled, KernelSource, compile_kernels

# Every kernel is compiled for these, for the others those that multiply with norm or softmax: the rest is alike, and
# CI's time is short. `python -m benchmarks.kernel_resources` compiles all for all.
WHOLLY = ("12.0",)
HARDEST = ("linear", "window_attention", "mlp")


def one_of_each() -> dict[str, KernelSource]:
    """The first launch of each operator, in V1 and V2; V1's linears with a norm and with a residual."""
    found: dict[tuple[str, ...], KernelSource] = {}
    for model in ("swin_t", "swinv2_t"):
        for source in launched_kernels(MODELS[model], (32,), torch.float16).values():
            optional = {"column", "residual", "norm_weight", "logit_scale", "x"} & set(source.types)
            found.setdefault((source.kernel, *sorted(optional)), source)
    return {source.id: source for source in found.values()}


@pytest.fixture(scope="module")
def kernels() -> dict[str, KernelSource]:
    return one_of_each()


@pytest.fixture(scope="module")
def compiled(kernels: dict[str, KernelSource]) -> Compiled:
    first = {source.kernel: source for source in reversed(kernels.values())}
    others = tuple(name for name in ARCHITECTURES if name not in WHOLLY)
    parts = (
        compile_kernels(kernels.values(), WHOLLY),
        compile_kernels([first[name] for name in HARDEST], others),
    )
    return Compiled(
        {key: cubin for part in parts for key, cubin in part.cubins.items()},
        {key: reason for part in parts for key, reason in part.refused.items()},
    )


def test_every_operator_of_both_families_is_there(kernels: dict[str, KernelSource]) -> None:
    assert {source.kernel for source in kernels.values()} == {
        "patch_embed", "linear", "window_attention", "mlp", "add_norm", "token_mean",
    }  # fmt: skip


def test_every_architecture_takes_what_it_is_given(compiled: Compiled) -> None:
    assert not compiled.refused
    assert {architecture for _, architecture in compiled.cubins} == set(ARCHITECTURES)


def test_no_default_spills(kernels: dict[str, KernelSource], compiled: Compiled) -> None:
    assert not list(spills(kernels, compiled))


def test_a_spill_and_a_refusal_are_told_with_kernel_and_architecture(
    kernels: dict[str, KernelSource], compiled: Compiled
) -> None:
    (name, place), cubin = next(iter(compiled.cubins.items()))
    spoilt = Compiled({**compiled.cubins, (name, place): replace(cubin, stack=16)}, {(name, "9.9"): "too new"})
    said = list(spills(kernels, spoilt))
    assert len(said) == 2 and all(kernels[name].kernel in line for line in said)
    assert "16 bytes" in said[0] and "too new" in said[1]
    for lines in (table, summary):
        assert any("+ 16 B" in line for line in lines(kernels, spoilt, (place,)))
        assert not any("+ 16 B" in line for line in lines(kernels, compiled, (place,)))
