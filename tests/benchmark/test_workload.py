"""Which graph a contestant's operations are counted in, and whose ceilings it gets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.benchmark import workload
from swin_deploy.benchmark.contestant import ArtifactContestant
from swin_deploy.benchmark.peers import TorchPeer
from swin_deploy.benchmark.roofline import Ceilings
from swin_deploy.benchmark.workload import Workload, ceilings_of
from swin_deploy.manifest import StepRecord
from tests.chain import Chain
from tests.report.example_run import example_run

# Tiny V1 of 28x28 pixels at patch 2: 14x14 tokens of 16 channels in stage 0, 7x7 of 32 in stage 1, two blocks each, an
# MLP of twice the channels; heads of 8 channels are padded to 16, which doubles what the attention is made of.
# Multiply-adds of an image, worked out here and not taken from the code.
STEM = 196 * (3 * 2 * 2) * 16
ATTENTION = sum(2 * (2 * tokens * 49 * 2 * dim) for tokens, dim in ((196, 16), (49, 32)))
LINEARS = sum(
    2 * tokens * dim * (3 * 2 * dim + 2 * dim + 2 * dim + 2 * dim)  # qkv, proj and both of the MLP
    for tokens, dim in ((196, 16), (49, 32))
)
MERGING = 49 * (4 * 16) * 32
HEAD = 32 * 5


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, v1: Chain) -> Workload:
    folder = tmp_path_factory.mktemp("run")
    records = []
    for name, file, precision in (("fp32", "fp32.onnx", "fp32"), ("int8-qdq", "int8.qdq.onnx", "int8")):
        copyfile(v1.artifact("simplified" if name == "fp32" else "qdq").path, folder / file)
        records.append(StepRecord(name, "made", "parent", {}, {}, "key", file, "onnx", precision))
    return Workload(folder, replace(example_run(), steps=tuple(records)))


def plan(precision: str) -> ArtifactContestant:
    return ArtifactContestant(Artifact("a", Path("a.plan"), Format.RTX_PLAN, Precision(precision)), 1)


def test_the_arithmetic_is_that_of_the_architecture(run: Workload) -> None:
    found = run.operations(plan("fp16"), 1)
    assert sum(operation.flop for operation in found) == 2 * (STEM + ATTENTION + LINEARS + MERGING + HEAD)
    assert len(found) == 1 + 4 * 6 + 1 + 1
    assert {operation.precision for operation in found} == {"fp16"}


def test_the_batch_multiplies_the_arithmetic(run: Workload) -> None:
    one, eight = (sum(operation.flop for operation in run.operations(plan("fp16"), batch)) for batch in (1, 8))
    assert eight == 8 * one


def test_a_peer_has_the_same_work_as_an_engine(run: Workload, v1: Chain) -> None:
    assert run.operations(TorchPeer(v1.artifact("reference"), "fp16", 1), 2) == run.operations(plan("fp16"), 2)


def test_a_quantized_engine_multiplies_its_linears_in_int8(run: Workload) -> None:
    found = run.operations(plan("int8"), 1)
    assert run.precisions(plan("int8")) == {"int8", "fp16"}
    whole = sum(operation.flop for operation in run.operations(plan("fp16"), 1))
    assert sum(operation.flop for operation in found) == whole
    assert sum(operation.flop for operation in found if operation.precision == "int8") >= 2 * LINEARS


def test_a_run_without_a_graph_has_nothing_to_count(tmp_path: Path) -> None:
    empty = Workload(tmp_path, replace(example_run(), steps=()))
    assert empty.operations(plan("fp16"), 1) == ()
    assert empty.precisions(plan("fp16")) == frozenset()


def test_a_graph_that_is_gone_is_nothing_to_count(run: Workload, tmp_path: Path) -> None:
    assert Workload(tmp_path, run.manifest).operations(plan("fp16"), 1) == ()


def measured(device: str, name: str, precisions: Iterable[str], threads: int) -> Ceilings:
    return Ceilings(f"{device} {sorted(precisions)}", "measured", 1.0, {})


def test_each_device_is_measured_once_for_all_that_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload, "measured_ceilings", measured)
    found = ceilings_of([("cpu", {"fp32"}), ("cpu", {"int8", "fp32"}), ("cpu", ())], 1)
    assert {device: value.device for device, value in found.items()} == {"cpu": "cpu ['fp32', 'int8']"}


@pytest.mark.parametrize(("gpu", "source"), [("Tesla T4", "NVIDIA T4 data sheet"), ("Unheard of", None)])
def test_a_gpu_that_pytorch_does_not_reach_has_its_published_ceilings_or_none(
    monkeypatch: pytest.MonkeyPatch, gpu: str, source: str | None
) -> None:
    import torch

    silent: Any = lambda *_, **__: None  # noqa: E731
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(workload, "machine", lambda: {"processor": "a CPU", "gpu": gpu})
    monkeypatch.setattr(workload.cuda_memory, "unavailable", silent)
    monkeypatch.setattr(workload.cuda_memory, "device_name", lambda: gpu)
    found = ceilings_of([("cuda", {"fp16"})], 1)
    assert (found["cuda"].source.partition(";")[0] if found else None) == source


def test_a_gpu_that_pytorch_reaches_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(workload, "measured_ceilings", measured)
    assert ceilings_of([("cuda", {"fp16"})], 1)["cuda"].device == "cuda ['fp16']"


def test_without_a_gpu_there_is_no_ceiling_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(workload.cuda_memory, "unavailable", lambda *_, **__: "no GPU")
    assert ceilings_of([("cuda", {"fp16"})], 1) == {}
