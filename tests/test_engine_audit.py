"""The pipeline audits what it built: a build that is not what was asked for fails, and is judged again on resume."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import pytest
from safetensors.torch import save_file

from calib.preprocess import Preprocess
from swin_deploy import pipeline
from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.backends.tensorrt import TensorRTBackend
from swin_deploy.backends.torch_eager import TorchEager
from swin_deploy.checkpoint.task import Classifier
from swin_deploy.device import cuda_memory
from swin_deploy.device.engine_listing import listing_path
from swin_deploy.device.plan_sidecar import sidecar_path
from swin_deploy.device.precision_audit import AuditCheck
from swin_deploy.engine_audit import Wish, audit_path, audit_row
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.manifest import FILE_NAME, Manifest, StepRecord, read_manifest
from swin_deploy.parity.evaluation import EvaluationSet, synthetic_evaluation
from swin_deploy.parity.gates import GateName, Verdict
from swin_deploy.plan import Step, View
from swin_deploy.recipe import Recipe
from swin_deploy.stages.base import Produced
from swin_deploy.stages.build import Build
from swin_deploy.stages.cast import Cast
from swin_deploy.stages.export import Export
from swin_deploy.stages.fold import Fold
from swin_deploy.stages.load import Load
from swin_deploy.stages.simplify import Simplify
from tests.quantized_graph import quantized_anyhow
from tests.random_swin import random_reference, small_spec, timm_state

BATCH = (1, 2, 4)
PREPROCESS = Preprocess(28, 28, "squash", "bilinear", "torch", (0.5,) * 3, (0.25,) * 3)
# Two stages of two blocks: four attentions and 16 linears in blocks, a merging and a head.
ATTENTIONS, BLOCK_LINEARS, LINEARS = 4, 16, 18
pytestmark = pytest.mark.skipif(
    cuda_memory.unavailable() is None, reason="with a GPU the engine is executed, and judged by more than its audit"
)


@dataclass(frozen=True)
class Codes(Cast):
    """INT8 of made-up ranges, with its Q/DQ or without: a builder gets the second where an exporter loses them."""

    precision: Precision = Precision.INT8
    lost: bool = False

    @property
    def accepts(self) -> frozenset[tuple[Format, Precision]]:
        return frozenset({(Format.ONNX, Precision.FP32)})

    def run(self, parent: Artifact, out: Path) -> Produced:
        from swin_deploy.onnx_graph.typing_pass import type_graph

        model = onnx.load(parent.path)
        onnx.save(type_graph(model if self.lost else quantized_anyhow(model), half="fp16"), out)
        return Produced()


@dataclass(frozen=True)
class Untyped(Cast):
    """What an exporter does whose FP16 switch its version ignores: the graph stays FP32, and is called FP16."""

    precision: Precision = Precision.FP16

    def run(self, parent: Artifact, out: Path) -> Produced:
        onnx.save(onnx.load(parent.path), out)
        return Produced()


@pytest.fixture(scope="module")
def evaluation() -> EvaluationSet:
    return synthetic_evaluation(PREPROCESS, seed=1, count=6, task=Classifier(5))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    tensors = {name: tensor.contiguous() for name, tensor in timm_state(random_reference(small_spec("v1"))).items()}
    save_file(tensors, folder / "tiny.safetensors")
    (folder / "tiny.json").write_text(json.dumps({"arguments": {"img_size": 28}}))
    return folder / "tiny.safetensors"


def plan(cast: Cast) -> list[Step]:
    """Reference, deployment form, ONNX, and an engine of what `cast` makes."""
    pytest.importorskip("tensorrt_rtx")
    name = cast.precision.value
    graph = (View("graph", OnnxRuntime(), GateName.FP32),)
    engine = Build("tensorrt_rtx", cast.precision, BATCH, ("8.6", "12.0"))
    return [
        Step("reference", "reference.safetensors", Load(), "checkpoint", (View("oracle", TorchEager(), None),)),
        Step("deployment", "deployment.safetensors", Fold(), "reference", (View("eager", TorchEager(), None),)),
        Step("exported", "exported.onnx", Export(BATCH[2]), "deployment", graph),
        Step("fp32", "fp32.onnx", Simplify(), "exported", graph),
        Step(name, f"{name}.onnx", cast, "fp32", (View("graph", OnnxRuntime(), None),)),
        Step(
            f"{name}-engine",
            f"{name}.rtx.plan",
            engine,
            name,
            (View("engine", TensorRTBackend("tensorrt_rtx"), GateName.INT8),),
        ),
    ]


def execute(steps: list[Step], checkpoint: Path, evaluation: EvaluationSet, folder: Path, **options: bool) -> Manifest:
    recipe = Recipe(str(checkpoint), batch=BATCH)
    return pipeline.run(tuple(steps), recipe, "rtx", evaluation, folder, **options)


@pytest.fixture(scope="module")
def fp32_run(checkpoint: Path, evaluation: EvaluationSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all of them begin with."""
    folder = tmp_path_factory.mktemp("fp32") / "run"
    execute(plan(Codes())[:4], checkpoint, evaluation, folder)
    return folder


@pytest.fixture(scope="module")
def int8_run(
    fp32_run: Path, checkpoint: Path, evaluation: EvaluationSet, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = copied(fp32_run, tmp_path_factory.mktemp("int8") / "run")
    execute(plan(Codes()), checkpoint, evaluation, folder, resume=True)
    return folder


def engine_of(folder: Path) -> StepRecord:
    return read_manifest(folder).steps[-1]


def test_a_sound_int8_build_passes_its_audit_and_stays_skipped_since_nothing_was_executed(int8_run: Path) -> None:
    manifest = read_manifest(int8_run)
    engine = manifest.steps[-1]
    executed, audit = engine.rows
    assert (executed.label, executed.verdict, audit.label, audit.verdict) == (
        "engine",
        Verdict.SKIPPED,
        "audit",
        Verdict.PASS,
    )
    assert engine.verdict is Verdict.SKIPPED  # the right kernels say nothing of what they compute
    assert manifest.status == 0
    assert "1 SKIPPED (not executed, so not proven)" in manifest.verdict
    assert engine.facts["asked"] == {
        "linears": BLOCK_LINEARS,
        "attentions": ATTENTIONS,
        "fp32_products": 0,
        "strongly_typed": True,
    }
    for census in engine.facts["kernels"].values():
        assert census["gemms_by_type"]["int8"] == BLOCK_LINEARS
    checks = {check["check"]: check["verdict"] for check in audit.judgements}
    assert checks == {"precision": "PASS", "attention": "PASS", "movement": "INFO"}


def test_a_build_whose_graph_lost_its_codes_fails_and_is_set_aside(
    fp32_run: Path, checkpoint: Path, evaluation: EvaluationSet, tmp_path: Path
) -> None:
    """The negative control: the graph is as near to the oracle as can be, and no INT8 is in it."""
    folder = copied(fp32_run, tmp_path / "run")
    manifest = execute(plan(Codes(lost=True)), checkpoint, evaluation, folder, resume=True)
    assert (manifest.status, manifest.verdict) == (4, "FAIL: int8-engine did not pass its gate")
    engine = manifest.steps[-1]
    assert engine.file == "int8.rtx.plan.rejected"
    assert "nothing reads INT8" in engine.rows[-1].reason
    names = {path.name for path in folder.glob("*.rtx.plan*")}
    assert names == {engine.file, sidecar_path(Path(engine.file)).name, listing_path(Path(engine.file)).name}


def test_an_fp16_build_of_an_fp32_graph_fails(
    fp32_run: Path, checkpoint: Path, evaluation: EvaluationSet, tmp_path: Path
) -> None:
    folder = copied(fp32_run, tmp_path / "run")
    manifest = execute(plan(Untyped()), checkpoint, evaluation, folder, resume=True)
    assert manifest.status == 4
    assert "nothing reads FP16" in manifest.steps[-1].rows[-1].reason


def test_a_resumed_run_judges_the_stored_figures_again_and_builds_nothing(
    int8_run: Path, checkpoint: Path, evaluation: EvaluationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(int8_run, tmp_path / "run")
    monkeypatch.setattr(Build, "run", lambda *_: pytest.fail("the engine is there"))
    monkeypatch.setattr("swin_deploy.device.precision_audit._precision", refuse)
    rejected = execute(plan(Codes()), checkpoint, evaluation, folder, resume=True)  # the gate got stricter
    assert (rejected.status, rejected.steps[-1].file) == (4, "int8.rtx.plan.rejected")
    assert listing_path(folder / "int8.rtx.plan.rejected").is_file()
    monkeypatch.undo()
    monkeypatch.setattr(Build, "run", lambda *_: pytest.fail("the engine is there"))
    passed = execute(plan(Codes()), checkpoint, evaluation, folder, resume=True)  # and is as it was
    assert (passed.status, passed.steps[-1].file) == (0, "int8.rtx.plan")
    assert listing_path(folder / "int8.rtx.plan").is_file()
    assert not list(folder.glob("*.rejected*"))


def test_an_engine_of_a_run_from_before_audits_is_built_again(
    int8_run: Path, checkpoint: Path, evaluation: EvaluationSet, tmp_path: Path
) -> None:
    folder = copied(int8_run, tmp_path / "run")
    raw = json.loads((folder / FILE_NAME).read_text())
    del raw["steps"][-1]["facts"]["asked"]
    (folder / FILE_NAME).write_text(json.dumps(raw))
    manifest = execute(plan(Codes()), checkpoint, evaluation, folder, resume=True)
    assert manifest.steps[-1].facts["asked"]["linears"] == BLOCK_LINEARS


def test_a_fresh_run_leaves_no_listing_of_an_engine_that_it_does_not_make(
    int8_run: Path, checkpoint: Path, evaluation: EvaluationSet, tmp_path: Path
) -> None:
    folder = copied(int8_run, tmp_path / "run")
    execute(plan(Codes())[:1], checkpoint, evaluation, folder)
    assert not list(folder.glob("*.plan*"))


def test_fused_attention_can_be_required(int8_run: Path) -> None:
    manifest = read_manifest(int8_run)
    assert pipeline.conclude(manifest, ("fused",))[0] == 0
    engine = manifest.steps[-1]
    census = {**engine.facts["kernels"]["8.6"], "fused_attentions": 3}
    apart = replace(engine, facts={**engine.facts, "kernels": {"8.6": census}})
    apart = apart.with_rows((engine.rows[0], audit_row(apart)))
    assert apart.rows[1].verdict is Verdict.PASS  # it costs time, and not what was asked for
    spoiled = replace(manifest, steps=(*manifest.steps[:-1], apart))
    assert pipeline.conclude(spoiled, ())[0] == 0
    assert pipeline.conclude(spoiled, ("fused",)) == (
        4,
        "fused attention is required, and was not seen throughout int8-engine",
    )
    assert pipeline.conclude(replace(manifest, steps=manifest.steps[:-1]), ("fused",))[0] == 3


def test_a_builder_that_lists_nothing_is_no_pass(int8_run: Path) -> None:
    engine = engine_of(int8_run)
    row = audit_row(replace(engine, facts={**engine.facts, "kernels": {}}))
    assert (row.verdict, "cannot be seen" in row.reason) == (Verdict.INFO, True)


def test_targets_with_other_kernels_are_judged_each(int8_run: Path) -> None:
    engine = engine_of(int8_run)
    census = engine.facts["kernels"]["8.6"]
    spoiled = {**census, "gemms_by_type": {"fp16": LINEARS}}
    row = audit_row(replace(engine, facts={**engine.facts, "kernels": {"8.6": census, "12.0": spoiled}}))
    assert row.verdict is Verdict.FAIL
    assert row.reason.startswith("compute capability 12.0: 0 linears read INT8, 16 were to")
    assert len(row.judgements) == 6


def test_a_run_an_engine_and_its_listing_are_audited_alike(int8_run: Path) -> None:
    plan_file = int8_run / "int8.rtx.plan"
    for path in (int8_run, plan_file, listing_path(plan_file)):
        (engine,) = audit_path(path, Wish())
        assert (engine.name, engine.targets, engine.verdict) == ("int8-engine", ("8.6", "12.0"), "PASS")
        assert engine.census.facts() == engine_of(int8_run).facts["kernels"]["8.6"]
        assert sum(kernel.launches for kernel in engine.kernels) == engine.census.kernels


def test_an_engine_is_audited_without_its_listing_by_what_the_run_wrote_down(int8_run: Path, tmp_path: Path) -> None:
    folder = copied(int8_run, tmp_path / "run")
    listing_path(folder / "int8.rtx.plan").unlink()
    (engine,) = audit_path(folder, Wish())
    assert (engine.verdict, engine.kernels, engine.targets) == ("PASS", (), ("8.6", "12.0"))


def test_a_saved_listing_is_shown_and_judged_when_the_wish_is_told(int8_run: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved.log"
    saved.write_bytes(gzip.decompress(listing_path(int8_run / "int8.rtx.plan").read_bytes()))
    (shown,) = audit_path(saved, Wish())
    assert (shown.verdict, [check.check for check in shown.checks]) == ("INFO", ["attention", "movement"])
    for wish, verdict in (
        (Wish(Precision.INT8, ATTENTIONS, BLOCK_LINEARS), "PASS"),
        (Wish(Precision.INT8), "INFO"),
        (Wish(Precision.INT8, linears=LINEARS), "FAIL"),
        (Wish(Precision.FP8), "FAIL"),
    ):
        (judged,) = audit_path(saved, wish)
        assert judged.verdict == verdict, judged.checks


@pytest.mark.parametrize("spoiled", [{"figures": 1}, {"kernels": "none"}, []])
def test_figures_that_were_spoiled_in_the_manifest_are_refused(int8_run: Path, spoiled: object) -> None:
    engine = engine_of(int8_run)
    kernels = {"8.6": {**engine.facts["kernels"]["8.6"], **spoiled} if isinstance(spoiled, dict) else spoiled}
    with pytest.raises(BadInput, match="census"):
        audit_row(replace(engine, facts={**engine.facts, "kernels": kernels}))


@pytest.mark.parametrize("cut", [10, 300, 1500])
def test_a_log_that_was_cut_off_is_refused(int8_run: Path, tmp_path: Path, cut: int) -> None:
    (tmp_path / "cut.log").write_bytes(gzip.decompress(listing_path(int8_run / "int8.rtx.plan").read_bytes())[:-cut])
    with pytest.raises(BadInput, match="ends in the middle of a layer"):
        audit_path(tmp_path / "cut.log", Wish(Precision.FP16))


def test_what_cannot_be_audited_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        audit_path(tmp_path / "none.log", Wish())
    with pytest.raises(BadInput, match="holds no manifest"):
        audit_path(tmp_path, Wish())
    (tmp_path / "a.plan").write_bytes(b"\x00engine")
    with pytest.raises(BadInput, match="lists no layers"):
        audit_path(tmp_path / "a.plan", Wish())
    with pytest.raises(UsageFault, match="--precision"):
        Wish(linears=3)


def copied(run: Path, folder: Path) -> Path:
    shutil.copytree(run, folder)
    return folder


def refuse(*_: object) -> object:
    return AuditCheck("precision", "FAIL", "never good enough")
