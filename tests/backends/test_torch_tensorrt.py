"""The Torch-TensorRT backend: what it refuses, what it counts, and real conversions with the GPU queries faked."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends import torch_tensorrt as backend
from swin_deploy.backends.torch_tensorrt import (
    Partition,
    TorchTensorRTBackend,
    TorchTensorRTSession,
    check_batch,
    compile_module,
    conversion_unavailable,
    read_partition,
)
from swin_deploy.errors import Unavailable, UsageFault

sys.path.insert(0, str(Path(__file__).parent))
from torch_cuda_fakes import ROOT, run_with_fakes

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("torch_tensorrt") is None, reason="torch_tensorrt is not installed"
)
PLAN = Artifact("x", Path("x.plan"), Format.TORCH_TENSORRT_PLAN, Precision.FP16)


# What is refused before torch_tensorrt is touched


def test_attn_bias_is_causal_is_refused_and_the_error_says_what_it_would_delete() -> None:
    with pytest.raises(UsageFault, match="position bias and shift mask") as caught:
        compile_module(nn.Linear(2, 2), torch.zeros(1, 2), attn_bias_is_causal=True)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("batch", [(0, 1, 2), (2, 1, 4), (1, 8, 4)])
def test_a_batch_profile_out_of_order_is_refused(batch: tuple[int, int, int]) -> None:
    with pytest.raises(UsageFault, match="batch profile"):
        check_batch(batch)


def test_importing_the_backend_and_its_stage_imports_neither_torch_nor_torch_tensorrt() -> None:
    code = (
        "import sys, swin_deploy.stages.torch_tensorrt\n"
        "assert not {'torch', 'torch_tensorrt', 'tensorrt'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# What is counted


def traced(*targets: Any) -> torch.fx.GraphModule:
    graph = torch.fx.Graph()
    value = graph.placeholder("x")
    for target in targets:
        value = graph.call_function(target, (value,))
    graph.output(value)
    return torch.fx.GraphModule(nn.Module(), graph)


def partitioned(**children: torch.fx.GraphModule) -> torch.fx.GraphModule:
    graph = torch.fx.Graph()
    value = graph.placeholder("x")
    for name in children:
        value = graph.call_module(name, (value,))
    graph.output(value)
    return torch.fx.GraphModule(nn.ModuleDict(children), graph)


def test_engines_and_fallback_are_counted_by_subgraph_and_operator() -> None:
    graph = partitioned(
        _run_on_acc_0=traced(torch.relu, torch.neg),
        _run_on_gpu_1=traced(torch.special.bessel_j0, torch.special.bessel_j0),
        _run_on_acc_2=traced(torch.neg),
    )
    partition = read_partition(graph)
    assert (partition.engines, partition.engine_operators, partition.fallback_subgraphs) == (2, 3, 1)
    assert list(partition.fallback_operators.values()) == [2]
    assert not partition.complete


def test_a_graph_that_was_not_divided_is_all_fallback() -> None:
    partition = read_partition(traced(torch.special.bessel_j0))
    assert (partition.engines, partition.fallback_subgraphs) == (0, 1)
    assert not partition.complete


def test_an_empty_graph_is_not_complete() -> None:
    assert not Partition(0, 0, 0, {}).complete


# Availability


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch_tensorrt" else find(name))
    expected = "torch_tensorrt is not installed. Install it with: pip install 'swin-deploy[torch-tensorrt]'"
    assert conversion_unavailable() == expected
    assert TorchTensorRTBackend().unavailable(PLAN) == expected
    with pytest.raises(Unavailable, match="not installed"):
        compile_module(nn.Linear(2, 2), torch.zeros(1, 2))


@needs_package
def test_without_a_gpu_conversion_and_execution_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no CUDA GPU" in str(conversion_unavailable())
    assert TorchTensorRTBackend().unavailable(PLAN) == "torch sees no CUDA GPU(s), and the engine is to run on GPU 0"
    with pytest.raises(Unavailable, match="no CUDA GPU"):
        TorchTensorRTBackend().open(PLAN)


@needs_package
def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    assert conversion_unavailable() is None
    assert TorchTensorRTBackend().unavailable(PLAN) is None
    assert "on GPU 1" in str(TorchTensorRTBackend(device=1).unavailable(PLAN))


@needs_package
@pytest.mark.parametrize("capability", [(8, 7), (9, 0)])
def test_a_gpu_on_which_the_rtx_build_loads_nothing_is_unavailable(
    capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend.metadata, "version", lambda name: "2.14.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert "loads no engine" in str(conversion_unavailable())
    assert "loads no engine" in str(TorchTensorRTBackend().unavailable(PLAN))


def test_a_file_of_another_format_is_not_ours() -> None:
    onnx = Artifact("fp16.onnx", Path("fp16.onnx"), Format.ONNX, Precision.FP16)
    assert TorchTensorRTBackend().unavailable(onnx) == "fp16.onnx is a onnx file, not a torch-tensorrt-plan"


# The session, with a stand-in for the engine


def test_the_session_names_its_outputs_and_answers_in_fp32() -> None:
    with TorchTensorRTSession(lambda x: x.half().sum((2, 3)), ("logits",), (1, 4), "cpu") as session:
        images = np.ones((2, 3, 4, 4), np.float32)
        answer = session.infer(images)["logits"]
    assert answer.dtype == np.float32
    np.testing.assert_array_equal(answer, np.full((2, 3), 16.0, np.float32))


def test_the_session_names_each_of_several_outputs() -> None:
    with TorchTensorRTSession(lambda x: (x.sum(1), x.amax(1)), ("stage0", "stage1"), (1, 4), "cpu") as session:
        images = np.arange(96, dtype=np.float32).reshape(2, 3, 4, 4)
        answer = session.infer(images)
    assert list(answer) == ["stage0", "stage1"]
    np.testing.assert_array_equal(answer["stage1"], images.max(axis=1))


@pytest.mark.parametrize("size", [1, 5])
def test_a_batch_outside_the_profile_is_refused_before_the_engine_sees_it(size: int) -> None:
    session = TorchTensorRTSession(lambda x: pytest.fail("executed"), ("logits",), (2, 4), "cpu")
    with pytest.raises(UsageFault, match="2 to 4"):
        session.infer(np.zeros((size, 3, 4, 4), np.float32))


# Real conversions


@pytest.fixture(scope="module")
def converted() -> dict[str, Any]:
    if importlib.util.find_spec("torch_tensorrt") is None:
        pytest.skip("torch_tensorrt is not installed")
    result: dict[str, Any] = run_with_fakes(
        """
        import torch.nn.functional as F
        from torch import nn
        from swin_deploy.backends.torch_tensorrt import compile_module
        from swin_deploy.errors import ExplainedError

        profiles = torch_cuda_fakes.record_profiles()

        class Windows(nn.Module):
            # Attention in 4 windows of 9 tokens with a constant bias, as matmuls or as the fused operator.
            def __init__(self, fused):
                super().__init__()
                self.fused, self.qkv = fused, nn.Linear(16, 48)
                self.register_buffer("bias", torch.randn(1, 4, 2, 9, 9))
                self.register_buffer("order", torch.randperm(36))
            def forward(self, x):  # [B, 36, 16]
                x = self.qkv(x.index_select(1, self.order)).reshape(-1, 4, 9, 3, 2, 8)
                q, k, v = x.permute(3, 0, 1, 4, 2, 5).unbind(0)
                if self.fused:
                    x = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias, scale=1.0)
                else:
                    x = (q @ k.transpose(-1, -2) + self.bias).softmax(-1) @ v
                return x.transpose(2, 3).reshape(-1, 36, 16)

        class Pyramid(nn.Module):
            # Two outputs, as a backbone has them.
            def __init__(self):
                super().__init__()
                self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 4)
            def forward(self, x):
                x = self.first(x)
                return x, self.second(x)

        class Bessel(nn.Module):
            # Torch-TensorRT has no converter for it.
            def forward(self, x):
                return torch.special.bessel_j0(x)

        def attempt(module, shape, **options):
            profiles.clear()
            try:
                result = compile_module(module.eval(), torch.randn(1, *shape), **options)
            except ExplainedError as error:
                return {"error": type(error).__name__, "text": str(error)}
            return {
                "engine": None if result.engine is None else len(result.engine),
                "bindings": [name in (result.engine or b"") for name in (b"images", b"logits")],
                "scales": [name in (result.engine or b"") for name in (b"stage0", b"stage1")],
                "profile": list(profiles),
                "engines": result.partition.engines,
                "fallback_subgraphs": result.partition.fallback_subgraphs,
                "fallback_operators": dict(result.partition.fallback_operators),
                "messages": list(result.messages),
            }

        def broken():
            from torch_tensorrt.dynamo.conversion import _TRTInterpreter as interpreter
            interpreter.trt.Runtime.deserialize_cuda_engine = lambda self, serialized: None
            return attempt(nn.Linear(8, 8), (8,))

        mixed = nn.Sequential(nn.Linear(8, 8), Bessel(), nn.Linear(8, 8))
        report({
            "windows": attempt(Windows(False), (36, 16), batch=(1, 4, 16)),
            "fused": attempt(Windows(True), (36, 16), batch=(1, 4, 16)),
            "one size": attempt(Windows(False), (36, 16), batch=(4, 4, 4)),
            "pyramid": attempt(Pyramid(), (8,), outputs=("stage0", "stage1")),
            "mixed": attempt(mixed, (8,)),
            "mixed allowed": attempt(mixed, (8,), require_full=False),
            "nothing": attempt(Bessel(), (8,), require_full=False),
            "empty": attempt(nn.Identity(), (8,)),
            "broken": broken(),  # last: it stays broken
        })
        """
    )
    return result


def test_several_outputs_become_bindings_of_their_names(converted: dict[str, Any]) -> None:
    assert (converted["pyramid"]["engines"], converted["pyramid"]["scales"]) == (1, [True, True])
    assert converted["pyramid"]["bindings"] == [True, False]
    assert converted["windows"]["scales"] == [False, False]  # the control


@pytest.mark.parametrize("form", ["windows", "fused", "one size"])
def test_window_attention_becomes_one_engine_with_named_bindings(converted: dict[str, Any], form: str) -> None:
    seen = converted[form]
    assert seen["engines"] == 1
    assert seen["fallback_subgraphs"] == 0
    assert seen["fallback_operators"] == {}
    assert seen["engine"] > 10_000
    assert seen["bindings"] == [True, True]
    assert seen["messages"] == []


def test_the_engines_profile_is_the_one_asked_for_with_batch_one(converted: dict[str, Any]) -> None:
    assert converted["windows"]["profile"] == [[[1, 36, 16], [4, 36, 16], [16, 36, 16]]]


def test_an_operator_without_a_converter_is_refused_by_name(converted: dict[str, Any]) -> None:
    seen = converted["mixed"]
    assert seen["error"] == "BadInput"
    assert "leaves 1 subgraph(s)" in seen["text"]
    assert "aten.special_bessel_j0.default (1)" in seen["text"]


def test_fallback_is_counted_and_gives_no_engine_where_it_is_allowed(converted: dict[str, Any]) -> None:
    seen = converted["mixed allowed"]
    assert seen["engines"] == 2
    assert seen["fallback_subgraphs"] == 1
    assert seen["fallback_operators"] == {"aten.special_bessel_j0.default": 1}
    assert seen["engine"] is None


@pytest.mark.parametrize("form", ["nothing", "empty"])
def test_a_model_that_gives_no_engine_is_refused_even_where_fallback_is_allowed(
    converted: dict[str, Any], form: str
) -> None:
    assert converted[form]["error"] == "BadInput"
    assert "made no engine" in converted[form]["text"]


def test_an_engine_that_cannot_be_loaded_again_is_an_explained_error(converted: dict[str, Any]) -> None:
    assert converted["broken"]["error"] == "BadInput"
    assert "could not convert" in converted["broken"]["text"]


@needs_package
def test_the_option_that_is_refused_would_really_have_deleted_the_bias() -> None:
    seen = run_with_fakes(
        """
        import torch.nn.functional as F
        from torch import nn
        from torch_tensorrt.dynamo import CompilationSettings
        from torch_tensorrt.dynamo.lowering import post_lowering

        fused = torch.ops.aten._scaled_dot_product_efficient_attention.default  # what attention on CUDA can become

        class Attention(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("bias", torch.randn(1, 2, 8, 8))
            def forward(self, q, k, v):
                return fused(q, k, v, self.bias.expand(q.shape[0], -1, -1, -1), False)[0]

        class OnCpu(torch.fx.Interpreter):
            # The operator has no CPU kernel: the same arguments, as the reference attention reads them.
            def call_function(self, target, args, kwargs):
                if target is not fused:
                    return super().call_function(target, args, kwargs)
                q, k, v, bias, _, dropout, causal = (*args, 0.0, False)[:7]
                return (F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=causal),)

        def run(graph):
            found = OnCpu(graph).run(*qkv)
            return found[0] if isinstance(found, tuple) else found

        torch.manual_seed(0)
        module, qkv = Attention(), tuple(torch.randn(3, 2, 3, 2, 8, 4)[:, 0].unbind(0))
        expected = F.scaled_dot_product_attention(*qkv, attn_mask=module.bias)
        causal = F.scaled_dot_product_attention(*qkv, is_causal=True)
        def lowered(flag):
            program = torch.export.export(module, qkv)
            return run(post_lowering(program.module(), CompilationSettings(attn_bias_is_causal=flag)))
        report({
            "false": float((lowered(False) - expected).abs().max()),
            "true": float((lowered(True) - expected).abs().max()),
            "true against causal": float((lowered(True) - causal).abs().max()),
        })
        """
    )
    assert seen["false"] < 1e-5
    assert seen["true"] > 0.1
    assert seen["true against causal"] < 1e-5


@needs_package
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_with_no_gpu_and_no_fakes_the_conversion_is_unavailable() -> None:
    seen = run_with_fakes(
        """
        import warnings
        from swin_deploy.backends.torch_tensorrt import compile_module
        from swin_deploy.errors import Unavailable
        before = warnings.showwarning
        try:
            compile_module(torch.nn.Linear(2, 2), torch.zeros(1, 2))
        except Unavailable as error:
            report([error.exit_code, str(error), warnings.showwarning is before])
        """,
        fakes=False,
    )
    code, text, warnings_as_before = seen
    assert code == 3
    assert "torch_tensorrt cannot be imported" in text
    assert "driver" in text
    assert warnings_as_before


@needs_package
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_the_engine_agrees_with_torch_at_every_batch_of_the_profile(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(8 * 64, 5)).eval()
    result = compile_module(module, torch.zeros(1, 3, 8, 8), batch=(1, 4, 8))
    path = tmp_path / "x.plan"
    path.write_bytes(result.engine or b"")
    images = np.random.default_rng(0).standard_normal((8, 3, 8, 8), dtype=np.float32)
    artifact = Artifact("x", path, Format.TORCH_TENSORRT_PLAN, Precision.FP32)
    with torch.no_grad(), TorchTensorRTBackend().open(artifact) as session:
        for size in (1, 4, 8):
            expected = module(torch.from_numpy(images[:size])).numpy()
            np.testing.assert_allclose(session.infer(images[:size])[backend.OUTPUT_NAME], expected, atol=1e-4)
