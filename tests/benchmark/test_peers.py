"""The peers answer as the oracle does: what is timed is the same network. Those that cannot run say why."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.benchmark.naive_export import naive_engine, naive_graph
from swin_deploy.benchmark.peers import PEERS, TorchPeer, check_peers, peers_of
from swin_deploy.device.benchmark_line import Skipped
from swin_deploy.errors import Unavailable, UsageFault
from swin_deploy.onnx_graph.census import node_counts
from tests.chain import Chain, decibels, random_images

IMAGES = random_images(3)


@pytest.fixture(scope="module")
def naive(v1: Chain, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The naive FP16 graph, exported once: that takes seconds."""
    return naive_graph(v1.artifact("reference"), Precision.FP16, tmp_path_factory.mktemp("naive"), 8)


def answer(contestant: Any) -> np.ndarray:
    with contestant.open() as session:
        (found,) = session.infer(IMAGES).values()
    assert found.dtype == np.float32
    return found


def peers(chain: Chain, names: tuple[str, ...], precision: str, folder: Path, **options: Any) -> list[Any]:
    given: dict[str, Any] = {"batch": (1, 2, 8), "threads": 1, "graphs": (False, True), **options}
    return peers_of(names, chain.artifact("reference"), precision, folder=folder, **given)


# Half precision keeps ten digits of two: some 50 dB remain of a tiny network, BF16 keeps seven.
@pytest.mark.parametrize(("precision", "least"), [("fp32", 110.0), ("fp16", 40.0), ("bf16", 20.0)])
def test_eager_is_the_paper_form_in_the_precision_that_was_asked_for(
    chain: Chain, precision: str, least: float
) -> None:
    wanted = chain.logits(IMAGES)
    found = decibels(answer(TorchPeer(chain.artifact("reference"), precision, 1)), wanted)
    assert found > least
    if precision != "fp32":
        assert found < 100  # it truly rounds


def test_compiled_is_the_same_network(v1: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    asked: list[dict[str, Any]] = []

    def compile_(module: Any, **options: Any) -> Any:
        asked.append(options)
        return module

    monkeypatch.setattr(torch, "compile", compile_)
    for graph in (False, True):
        peer = TorchPeer(v1.artifact("reference"), "fp32", 1, compiled=True, cuda_graph=graph)
        assert decibels(answer(peer), v1.logits(IMAGES)) > 110
    assert asked == [{"dynamic": False, "mode": "default"}, {"dynamic": False, "mode": "reduce-overhead"}]


def test_without_a_compiler_there_is_no_compiled_peer(v1: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swin_deploy.benchmark.peers.no_cpp_compiler", lambda: "no g++")
    assert TorchPeer(v1.artifact("reference"), "fp32", 1, compiled=True).unavailable() == "no g++"
    assert TorchPeer(v1.artifact("reference"), "fp32", 1).unavailable() is None


def test_a_captured_network_is_not_rounded(v1: Chain, tmp_path: Path) -> None:
    captured = v1.artifact("captured")
    assert "types written into its graph" in (TorchPeer(captured, "fp16", 1).unavailable() or "")
    found = peers_of(("onnxruntime",), captured, "fp16", batch=(1, 2, 8), folder=tmp_path, threads=1, graphs=(False,))
    assert isinstance(found[0], Skipped) and "types written" in found[0].reason
    assert answer(TorchPeer(captured, "fp32", 1)).shape[0] == 3


def test_the_naive_graph_is_the_same_network_with_nothing_folded(v1: Chain, tmp_path: Path) -> None:
    (peer,) = peers(v1, ("onnxruntime",), "fp32", tmp_path)
    assert (peer.name, peer.backend, peer.precision) == ("onnxruntime, naive export", "onnxruntime", "fp32")
    assert decibels(answer(peer), v1.logits(IMAGES)) > 110
    model, ours = onnx.load(peer.artifact.path), v1.model("simplified")
    assert sum(node_counts(model).values()) > 1.2 * sum(node_counts(ours).values())


def test_the_naive_graph_of_half_precision_multiplies_in_it(
    v1: Chain, naive: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swin_deploy.benchmark.peers.naive_graph", lambda *_: naive)
    (peer,) = peers(v1, ("onnxruntime",), "fp16", tmp_path)
    assert 40 < decibels(answer(peer), v1.logits(IMAGES)) < 100
    types = {tensor.data_type for tensor in onnx.load(naive.path).graph.initializer if len(tensor.dims) == 2}
    assert onnx.TensorProto.FLOAT16 in types and onnx.TensorProto.FLOAT not in types


def test_an_export_that_fails_is_skipped_with_the_exporters_words(
    v1: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no such operator\nmore")

    monkeypatch.setattr("swin_deploy.benchmark.peers.naive_graph", fail)
    (found,) = peers(v1, ("onnxruntime",), "fp32", tmp_path)
    assert found == Skipped("onnxruntime, naive export", "onnxruntime", "fp32", "RuntimeError: no such operator")


def test_a_naive_engine_is_built_and_not_executed_where_there_is_no_gpu(
    v1: Chain, naive: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorrt_rtx")
    monkeypatch.setattr("swin_deploy.benchmark.naive_export.naive_graph", lambda *_: naive)
    monkeypatch.setattr("swin_deploy.device.cuda_memory.unavailable", lambda *_, **__: "no NVIDIA GPU")
    (found,) = peers(v1, ("naive-tensorrt",), "fp16", tmp_path)
    assert isinstance(found, Skipped)
    assert (found.artifact, found.backend, found.precision) == ("TensorRT, naive export", "tensorrt_rtx", "fp16")
    assert "built it in" in found.reason and "kernels; not executed: no NVIDIA GPU" in found.reason


def test_a_naive_engine_is_a_contestant_with_and_without_a_cuda_graph_where_it_can_run(
    v1: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Artifact("naive", tmp_path / "naive.rtx.plan", Format.RTX_PLAN, Precision.FP16)
    monkeypatch.setattr("swin_deploy.benchmark.peers.naive_engine", lambda *_: (plan, "built"))
    monkeypatch.setattr("swin_deploy.backends.tensorrt.TensorRTBackend.unavailable", lambda self, artifact: None)
    found = peers(v1, ("naive-tensorrt",), "fp16", tmp_path)
    assert [(peer.name, peer.cuda_graph) for peer in found] == [
        ("TensorRT, naive export", False),
        ("TensorRT, naive export", True),
    ]


def test_without_a_builder_there_is_no_naive_engine(v1: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swin_deploy.benchmark.naive_export.package_unavailable", lambda package: f"no {package}")
    with pytest.raises(Unavailable, match="no tensorrt_rtx"):
        naive_engine(v1.artifact("reference"), Precision.FP16, tmp_path, (1, 2, 8))
    (found,) = peers(v1, ("naive-tensorrt",), "fp16", tmp_path)
    assert isinstance(found, Skipped) and "no tensorrt_rtx" in found.reason


def test_the_precision_of_flags_leaves_the_naive_graph_in_fp32(
    v1: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from swin_deploy.stages.base import Produced
    from swin_deploy.stages.build import Build

    built: list[tuple[Precision, str]] = []

    def run(self: Build, parent: Artifact, out: Path) -> Produced:
        built.append((parent.precision, self.profile))
        return Produced({"kernels": {}, "version": "8.6", "seconds": 1.0}, sidecar={})

    def graph(reference: Artifact, precision: Precision, *_: Any) -> Artifact:
        return Artifact("naive", reference.path, Format.ONNX, precision)

    traits = SimpleNamespace(precision_flags=True, profile="trt86")
    monkeypatch.setattr("swin_deploy.benchmark.naive_export.naive_graph", graph)
    monkeypatch.setattr("swin_deploy.benchmark.naive_export.import_flavor", lambda flavor: (None, traits))
    monkeypatch.setattr(Build, "run", run)
    naive_engine(v1.artifact("reference"), Precision.FP16, tmp_path, (1, 2, 8))
    assert built == [(Precision.FP32, "trt86")]


def test_compiled_peers_get_a_cuda_graph_on_a_gpu_only(
    v1: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for device, wanted in (("cpu", [False]), ("cuda", [False, True])):
        monkeypatch.setattr("swin_deploy.benchmark.peers.torch_device", lambda device=device: device)
        found = peers(v1, ("eager", "torch.compile"), "fp32", tmp_path)
        assert [peer.cuda_graph for peer in found] == [False, *wanted]


def test_an_unknown_peer_is_refused() -> None:
    check_peers(PEERS)
    with pytest.raises(UsageFault, match="naive-tensorrt"):
        check_peers(("keras",))


def test_a_peer_can_be_sent_to_another_process(v1: Chain) -> None:
    peer = TorchPeer(v1.artifact("reference"), "fp16", 1)
    assert pickle.loads(pickle.dumps(peer)) == peer
