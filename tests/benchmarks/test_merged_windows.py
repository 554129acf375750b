"""The regression case of TensorRT 8.6's wrong attention: two forms of a network, which only TensorRT 8 tells apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from benchmarks import merged_windows as script
from examples.zoo.build_zoo import ZOO
from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.device.tensorrt_versions import package_unavailable
from swin_deploy.onnx_graph.merged_windows import merged_windows
from tests.chain import decibels
from tests.random_swin import small_spec


@pytest.mark.skipif(package_unavailable("tensorrt") is None, reason="TensorRT is here: the script itself is the test")
def test_both_forms_are_written_compute_the_same_and_are_not_called_executed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(ZOO, "swin_t", replace(ZOO["swin_t"], spec=small_spec("v1")))
    said = CliRunner().invoke(script.main, [str(tmp_path)], catch_exceptions=False)
    assert said.exit_code == 0
    lines = said.output.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [["apart", "not executed"], ["merged", "not executed"]]
    assert all("tensorrt" in line for line in lines)
    images = np.random.default_rng(1).random((3, 3, 28, 28), np.float32)
    found = {}
    for name, count in (("apart", 0), ("merged", 2)):
        path = tmp_path / f"{name}.onnx"
        model = onnx.load(path)
        assert [entry.version for entry in model.opset_import] == [17]
        assert len(merged_windows(model)) == count
        with OnnxRuntime().open(Artifact(name, path, Format.ONNX, Precision.FP32)) as session:
            found[name] = session.infer(images)["logits"]
    assert decibels(found["merged"], found["apart"]) >= 100
