"""Artifacts as contestants: what is shown of them, where they compute and in what, and what opens them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.benchmark.contestant import ArtifactContestant
from tests.chain import Chain, random_images


def contestant(format_: str, precision: str, label: str = "") -> ArtifactContestant:
    return ArtifactContestant(Artifact("a", Path("run/a.file"), Format(format_), Precision(precision)), 2, label)


@pytest.mark.parametrize(
    ("format_", "precision", "backend", "device", "floats"),
    [
        ("onnx", "fp32", "onnxruntime", "cpu", "fp32"),
        ("onnx", "fp16", "onnxruntime", "cpu", "fp32"),  # its CPU provider computes FP16 in FP32
        ("onnx", "int8", "onnxruntime", "cpu", "fp32"),
        ("rtx-plan", "fp32", "tensorrt_rtx", "cuda", "fp32"),
        ("rtx-plan", "fp16", "tensorrt_rtx", "cuda", "fp16"),
        ("tensorrt-plan", "bf16", "tensorrt", "cuda", "bf16"),
        ("tensorrt-plan", "int8", "tensorrt", "cuda", "fp16"),
        ("rtx-plan", "fp8", "tensorrt_rtx", "cuda", "fp16"),
    ],
)
def test_where_and_in_what_an_artifact_computes(
    format_: str, precision: str, backend: str, device: str, floats: str
) -> None:
    found = contestant(format_, precision)
    assert (found.backend, found.device, found.floats) == (backend, device, floats)
    assert (found.name, found.precision) == ("run/a.file", precision)


def test_a_label_takes_the_files_place() -> None:
    assert contestant("onnx", "fp32", "naive").name == "naive"


def test_an_onnx_graph_is_opened_optimised_and_with_the_threads_that_were_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(OnnxRuntime, "open", lambda self, artifact: seen.append(self))
    contestant("onnx", "int8").open()
    assert seen == [OnnxRuntime(literal=False, threads=2)]  # literal Q/DQ is for judging


def test_onnx_runtime_takes_the_threads(monkeypatch: pytest.MonkeyPatch, v1: Chain) -> None:
    import onnxruntime

    seen: list[Any] = []
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda model, options, **_: seen.append(options))
    monkeypatch.setattr("swin_deploy.backends.onnxruntime.OnnxRuntimeSession.__init__", lambda self, session: None)
    for threads in (3, None):
        OnnxRuntime(threads=threads).open(v1.artifact("simplified"))
    assert [options.intra_op_num_threads for options in seen] == [3, 0]  # 0 is its own choice


def test_a_contestant_can_be_sent_to_another_process() -> None:
    found = contestant("onnx", "fp32")
    assert pickle.loads(pickle.dumps(found)) == found


def test_an_opened_artifact_answers(v1: Chain) -> None:
    with ArtifactContestant(v1.artifact("simplified"), 1).open() as session:
        (logits,) = session.infer(random_images(2)).values()
    assert logits.shape == (2, 5)
