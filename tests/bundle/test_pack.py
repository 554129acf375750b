"""A run becomes one archive, the same each time, whose graphs were judged before they went in."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from swin_deploy.artifact import Format, Precision
from swin_deploy.bundle import graphs
from swin_deploy.bundle.closure import import_closure
from swin_deploy.bundle.pack import PackOptions, pack
from swin_deploy.device.bundle_file import read_bundle
from swin_deploy.device.fixture_replay import read_fixtures
from swin_deploy.errors import BadInput, GateFailed, UsageFault
from swin_deploy.manifest import Row, StepRecord, read_manifest, write_manifest
from swin_deploy.parity.gates import GATES, GateName, Verdict
from tests.bundle.conftest import BATCH, CLASSES, write_run
from tests.chain import Chain

Bundled = Callable[[str], Path]


def test_the_archive_holds_all_that_a_board_needs(bundled: Bundled) -> None:
    folder = bundled("orin")
    bundle = read_bundle(folder)
    assert bundle.check_files(folder) > 0
    names = set(bundle.files)
    assert {"README.md", "runner.py", "manifest.json", "preprocessing.json", "labels.txt"} <= names
    assert {f"lib/{file}" for file in import_closure()} <= names
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        *names,
        "bundle.json",
    }
    assert (folder / "labels.txt").read_text().split() == list(CLASSES)
    assert json.loads((folder / "preprocessing.json").read_text())["height"] == 28
    assert (bundle.name, bundle.task, bundle.batches, bundle.packages) == (
        "tiny_v1", "classifier", BATCH, ("tensorrt",)
    )  # fmt: skip


def test_each_precision_comes_in_each_profile_that_has_it(bundled: Bundled) -> None:
    engines = read_bundle(bundled("orin")).engines
    assert [engine.name for engine in engines] == [
        "fp16", "fp16-trt86", "fp16-trt85", "bf16", "int8", "int8-trt86", "int8-trt85",
    ]  # fmt: skip
    opset = {"strong": {20, 22}, "trt86": {17}, "trt85": {16}}  # BF16 needs 22
    for engine in engines:
        model = onnx.load(bundled("orin") / engine.onnx)
        (entry,) = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
        assert entry in opset[engine.profile], engine.name
        types = {tensor.data_type for tensor in model.graph.initializer}
        typed = onnx.TensorProto.FLOAT16 in types or onnx.TensorProto.BFLOAT16 in types
        assert typed == (engine.profile == "strong"), "builder flags ask of TensorRT 8, types of the others"


@pytest.mark.parametrize("target", ["orin", "xavier", "thor", "rtx", "triton"])
def test_query_key_and_value_are_one_product_in_every_graph(target: str, bundled: Bundled) -> None:
    folder = bundled(target)
    for file in dict.fromkeys(engine.onnx for engine in read_bundle(folder).engines):
        products = [node.name for node in onnx.load(folder / file).graph.node if node.op_type == "MatMul"]
        merged = [name for name in products if name.endswith("attn.qkv/MatMul")]
        assert len(merged) == 4, "one a block of the tiny model"
        assert not [name for name in products if any(part in name for part in (".q_proj", ".k_proj", ".v_proj"))]
        # Nothing else in an attention has constant weights but the projection behind it.
        assert len([name for name in products if ".attn.proj/" in name]) == 4


def test_the_gates_are_those_of_the_build(bundled: Bundled) -> None:
    engines = {engine.name: engine for engine in read_bundle(bundled("orin")).engines}
    assert engines["fp16"].engine_gate.facts() == GATES[GateName.FP16_ENGINE].facts()
    assert engines["fp16"].graph_gate.facts() == GATES[GateName.FP16_GRAPH].facts()
    assert engines["fp16-trt86"].engine_gate.facts() == GATES[GateName.FP16_ENGINE].facts()
    assert engines["fp16-trt86"].graph_gate.facts() == GATES[GateName.FP32].facts(), "its graph is FP32"
    assert engines["int8-trt85"].graph_gate.facts() == GATES[GateName.INT8].facts()
    assert engines["fp16"].asked["attentions"] == 4
    assert engines["fp16"].activation_mib >= 1


def test_fixtures_are_the_runs_own_images_with_the_oracles_answers(bundled: Bundled, run: Path, v1: Chain) -> None:
    folder = bundled("orin")
    bundle = read_bundle(folder)
    fixtures = read_fixtures(folder, bundle)
    assert bundle.image_source == "4 images of eval.npz"
    assert len({image.tobytes() for image in fixtures.images}) == BATCH[2]
    reference = v1.reference()
    import torch

    with torch.inference_mode():
        wanted = reference(torch.from_numpy(np.array(fixtures.images))).numpy()
    np.testing.assert_allclose(fixtures.oracle["logits"], wanted, atol=1e-5)


def test_one_run_gives_one_archive_byte_for_byte(packed: Callable[[str], Path], run: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.tar"
    pack(run, again, PackOptions("rtx"), lambda text: None)
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(packed("rtx").read_bytes()).digest()
    with tarfile.open(again) as archive:
        members = archive.getmembers()
    assert {(member.mtime, member.uid, member.gid, member.uname) for member in members} == {(315532800, 0, 0, "")}
    assert [member.name for member in members] == sorted(
        (member.name for member in members), key=lambda name: name.split("/")
    )


def test_images_that_do_not_fill_the_largest_batch_are_topped_up_with_made_up_ones(v1: Chain, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", v1, ("fp32", "fp16"))
    images = np.load(folder / "eval.npz")["images"]
    np.savez(folder / "few.npz", images=images[[0, 1, 1]], labels=[0, 1, 1])  # the third is the second again
    bundle = pack(folder, tmp_path / "x.tar", PackOptions("rtx", data=str(folder / "few.npz")), lambda text: None)
    assert bundle.image_source == "2 images of few.npz and 2 SYNTHETIC images"


def test_a_run_without_images_gets_made_up_ones_and_says_so(v1: Chain, tmp_path: Path) -> None:
    recipe = {"batch": list(BATCH), "seed": 0, "eval_data": None, "max_drop": 1.0, "max_psnr_drop": 0.1}
    folder = write_run(tmp_path / "run", v1, ("fp32", "fp16"), recipe=recipe)
    said: list[str] = []
    pack(folder, tmp_path / "x.tar", PackOptions("rtx"), said.append)
    assert said[0] == "fixtures: 4 SYNTHETIC images"


def test_images_that_are_gone_are_asked_for(v1: Chain, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", v1, ("fp32", "fp16"))
    (folder / "eval.npz").unlink()
    with pytest.raises(BadInput, match="--data"):
        pack(folder, tmp_path / "x.tar", PackOptions("rtx"), lambda text: None)


def test_a_graph_that_is_not_the_runs_own_is_refused(v1: Chain, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", v1, ("fp32", "fp16"))
    (folder / "fp16.onnx").write_bytes((folder / "fp16.onnx").read_bytes() + b"\0")
    with pytest.raises(BadInput, match="sha256 differs"):
        pack(folder, tmp_path / "x.tar", PackOptions("rtx"), lambda text: None)
    assert not (tmp_path / "x.tar").exists()


def test_a_graph_that_fails_its_gate_on_the_fixtures_is_status_4_and_nothing_is_packed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = graphs._run_graph

    def spoiled(folder: Path, manifest: object, name: str) -> onnx.ModelProto:
        model = whole(folder, manifest, name)
        for tensor in model.graph.initializer:
            if "blocks.1.mlp.0.weight" in tensor.name:
                values = onnx.numpy_helper.to_array(tensor)
                tensor.CopyFrom(onnx.numpy_helper.from_array((values * 1.5).astype(values.dtype), tensor.name))
                return model
        raise AssertionError("no such weight")

    monkeypatch.setattr(graphs, "_run_graph", spoiled)
    with pytest.raises(GateFailed, match=r"onnx/fp16\.strong\.onnx failed on the fixtures: sqnr") as caught:
        pack(run, tmp_path / "x.tar", PackOptions("rtx", precisions=("fp16",)), lambda text: None)
    assert caught.value.exit_code == 4
    assert not (tmp_path / "x.tar").exists()


def test_a_graph_that_failed_in_the_run_is_refused(v1: Chain, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", v1, ("fp32", "fp16"))
    manifest = read_manifest(folder)
    failed = Row("graph", "onnxruntime", "fp16-graph", Verdict.FAIL)
    steps = tuple(step.with_rows((failed,)) if step.artifact == "fp16" else step for step in manifest.steps)
    write_manifest(type(manifest)(**{**manifest.__dict__, "steps": steps}), folder)
    with pytest.raises(BadInput, match="failed its gate"):
        pack(folder, tmp_path / "x.tar", PackOptions("rtx"), lambda text: None)


def test_a_graph_made_of_one_that_failed_is_refused(v1: Chain, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", v1, ("fp32", "fp16", "int8-qdq", "int8"))
    manifest = read_manifest(folder)
    failed = Row("graph", "onnxruntime", "int8", Verdict.FAIL)
    steps = tuple(
        replace(step, rows=(failed,) if step.artifact == "int8-qdq" else (), parent="int8-qdq")
        if step.artifact.startswith("int8")
        else step
        for step in manifest.steps
    )
    steps = tuple(replace(step, parent="fp32") if step.artifact == "int8-qdq" else step for step in steps)
    write_manifest(replace(manifest, steps=steps), folder)
    with pytest.raises(BadInput, match=r"int8\.qdq\.onnx .* failed its gate"):
        pack(folder, tmp_path / "x.tar", PackOptions("rtx", precisions=("int8",)), lambda text: None)


def test_a_run_that_is_not_finished_is_refused(v1: Chain, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", v1, ("fp32", "fp16"), status=None)
    with pytest.raises(BadInput, match="not finished"):
        pack(folder, tmp_path / "x.tar", PackOptions("rtx"), lambda text: None)


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"target": "orin", "precisions": ("fp8",)}, "--precision fp8 with --target orin"),
        ({"target": "xavier", "precisions": ("bf16",)}, "--precision bf16 with --target xavier"),
        ({"target": "thor", "precisions": ("fp8",)}, "which this run did not make"),
        ({"target": "rtx", "precisions": ("fp17",)}, "--precision fp17"),
        ({"target": "orin", "tensorrt": "8.6", "precisions": ("bf16",)}, "--precision bf16 for tensorrt 8.6"),
        ({"target": "orin", "tensorrt": "9.9"}, "--tensorrt 9.9"),
    ],
)
def test_what_a_target_or_run_does_not_have_is_refused(
    options: dict[str, object], seen: str, run: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageFault) as caught:
        pack(run, tmp_path / "x.tar", PackOptions(**options), lambda text: None)
    assert seen in str(caught.value)


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(UsageFault, match="one of orin"):
        PackOptions("nano")


def test_without_half_precision_fp32_is_packed(v1: Chain, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", v1, ("fp32",))
    bundle = pack(folder, tmp_path / "x.tar", PackOptions("xavier"), lambda text: None)
    assert [(engine.name, engine.precision) for engine in bundle.engines] == [("fp32-trt85", Precision.FP32)]


def test_a_step_without_a_file_is_no_precision_of_the_run(run: Path) -> None:
    manifest = read_manifest(run)
    missing = StepRecord("fp8", "cast", "fp32", {}, {}, "key", None, Format.ONNX.value, "fp8", skipped="no reason")
    manifest = type(manifest)(**{**manifest.__dict__, "steps": (*manifest.steps, missing)})
    from swin_deploy.bundle.targets import TARGETS

    assert Precision.FP8 not in graphs.asked_precisions(manifest, TARGETS["thor"], ())


def test_blocks_that_stay_in_fp32_are_in_no_profile_whose_precision_is_a_flag(v1: Chain, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", v1, ("fp32", "fp16"))
    manifest = read_manifest(run)
    write_manifest(replace(manifest, recipe={**manifest.recipe, "fp32_blocks": ["blocks.0"]}), run)
    bundle = pack(run, tmp_path / "x.tar", PackOptions("orin", precisions=("fp16",)), lambda text: None)
    assert [engine.name for engine in bundle.engines] == ["fp16"]
    with pytest.raises(UsageFault, match="from the graph's types"):
        pack(run, tmp_path / "y.tar", PackOptions("xavier", precisions=("fp16",)), lambda text: None)
