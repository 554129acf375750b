"""Around the search: what it searches in, what it refuses, and how an engine would be tried."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends.onnxruntime_rounded import RoundedOnnxRuntime
from swin_deploy.backends.tensorrt import TensorRTBackend
from swin_deploy.bisect import mixture_judge, search_run
from swin_deploy.bisect.mixture_judge import Executor, MixtureJudge, executor_of
from swin_deploy.bisect.search_run import Asked, bisect
from swin_deploy.bisect.subject import chosen_name, open_subject
from swin_deploy.bisect.trial import Metric
from swin_deploy.device.plan_sidecar import sidecar_path
from swin_deploy.errors import BadInput, Unavailable, UsageFault
from swin_deploy.manifest import Manifest, Row, read_manifest, write_manifest
from swin_deploy.parity.gates import Verdict
from swin_deploy.parity.measure import Measurement
from swin_deploy.stages.base import Produced
from swin_deploy.stages.build import Build
from tests.bisect.planted_faults import loud_values, run_of
from tests.chain import Chain

FINITE = Asked("fp16", Metric.FINITE, images=4)


def failing(manifest: Manifest, *names: str) -> Manifest:
    row = Row("graph", "onnxruntime", "fp16", Verdict.FAIL)
    return replace(manifest, steps=tuple(s.with_rows((row,)) if s.artifact in names else s for s in manifest.steps))


def test_the_first_graph_that_failed_its_gate_is_searched_in(v1: Chain, tmp_path: Path) -> None:
    manifest = read_manifest(run_of(v1, tmp_path))
    assert chosen_name(failing(manifest, "int8"), None) == "int8"
    assert chosen_name(failing(manifest, "int8", "int8-qdq"), None) == "int8-qdq"


def test_without_a_failure_the_graph_has_to_be_named_unless_there_is_one_alone(v1: Chain, tmp_path: Path) -> None:
    manifest = read_manifest(run_of(v1, tmp_path))
    with pytest.raises(UsageFault, match="nothing says which one"):
        chosen_name(manifest, None)
    one = replace(manifest, steps=tuple(step for step in manifest.steps if step.artifact != "int8"))
    assert chosen_name(one, None) == "int8-qdq"
    with pytest.raises(UsageFault, match="no graph of low precision"):
        chosen_name(replace(manifest, steps=()), None)


@pytest.mark.parametrize("asked", ["int8-qdq", "int8.qdq.onnx", "int8.qdq.onnx.rejected"])
def test_a_graph_is_named_as_an_artifact_or_as_its_file(v1: Chain, tmp_path: Path, asked: str) -> None:
    assert chosen_name(read_manifest(run_of(v1, tmp_path)), asked) == "int8-qdq"


@pytest.mark.parametrize(("asked", "told"), [("fp16-engine", "Name fp16, the graph"), ("fp32", "one of fp16, bf16")])
def test_what_cannot_be_searched_in_is_refused(v1: Chain, tmp_path: Path, asked: str, told: str) -> None:
    with pytest.raises(UsageFault, match=told):
        chosen_name(read_manifest(run_of(v1, tmp_path)), asked)


def test_a_missing_a_changed_and_a_failed_fp32_graph_are_refused(v1: Chain, tmp_path: Path) -> None:
    folder = run_of(v1, tmp_path)
    manifest = read_manifest(folder)
    with pytest.raises(BadInput, match="failed its own gate, in FP32"):
        open_subject(folder, failing(manifest, "fp32"), "fp16")
    with pytest.raises(BadInput, match=r"holds no artifact fp8-qdq.*with --fp8"):
        open_subject(folder, manifest, "fp8")
    with (folder / "fp32.onnx").open("ab") as handle:
        handle.write(b"0")
    with pytest.raises(BadInput, match="is not the file that was built"):
        open_subject(folder, manifest, "fp16")
    (folder / "fp32.onnx").unlink()
    with pytest.raises(BadInput, match="does not exist"):
        open_subject(folder, manifest, "int8")


def test_a_changed_oracle_is_refused(v1: Chain, tmp_path: Path) -> None:
    folder = run_of(v1, tmp_path)
    with (folder / "reference.safetensors").open("ab") as handle:
        handle.write(b"0")
    with pytest.raises(BadInput, match="is not the file that was built"):
        bisect(folder, FINITE)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no manifest"):
        bisect(tmp_path, FINITE)


def test_an_engine_without_a_gpu_is_unavailable_and_auto_is_the_cpu_then(
    v1: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_of(v1, tmp_path)
    subject = open_subject(folder, read_manifest(folder), "fp16")
    monkeypatch.setattr(mixture_judge.cuda_memory, "unavailable", lambda device=0: "no GPU here")
    for flavor in ("tensorrt", "tensorrt_rtx"):
        with pytest.raises(Unavailable, match=f"--backend {flavor}"):
            executor_of(flavor, subject, (1, 2, 4))
    assert executor_of("auto", subject, (1, 2, 4)) == Executor(RoundedOnnxRuntime())


@dataclass(frozen=True)
class Traits:
    profile: str


@pytest.mark.parametrize("flavor", ["tensorrt", "tensorrt_rtx"])
def test_with_a_gpu_auto_is_an_engine_of_strong_types(
    v1: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flavor: str
) -> None:
    folder = run_of(v1, tmp_path)
    subject = open_subject(folder, read_manifest(folder), "fp16")
    profile = "strong"
    monkeypatch.setattr(mixture_judge.cuda_memory, "unavailable", lambda device=0: None)
    monkeypatch.setattr(mixture_judge.cuda_memory, "compute_capability", lambda device=0: "8.6")
    monkeypatch.setattr(mixture_judge, "package_unavailable", lambda name: None if name == flavor else "not installed")
    monkeypatch.setattr(mixture_judge, "import_flavor", lambda name: (None, Traits(profile)))
    found = executor_of("auto", subject, (1, 2, 4))
    targets = ("8.6",) if flavor == "tensorrt_rtx" else ()
    assert found == Executor(TensorRTBackend(flavor), Build(flavor, Precision.FP16, (1, 2, 4), targets))
    # TensorRT 8 takes precision from builder flags.
    profile = "trt86"
    assert executor_of("auto", subject, (1, 2, 4)).build is None
    with pytest.raises(Unavailable, match="from builder flags"):
        executor_of(flavor, subject, (1, 2, 4))


@dataclass(frozen=True)
class ImitatedBuild:
    """A builder that hands the graph on, under a plan's name."""

    _built: list[str] = field(default_factory=list)
    name: str = "build"
    suffix: str = ".plan"
    produces: tuple[Format, Precision] = (Format.TENSORRT_PLAN, Precision.FP16)

    @property
    def accepts(self) -> frozenset[Any]:
        return frozenset()

    def tools(self) -> Mapping[str, str]:
        return {}

    def unavailable(self) -> str | None:
        return None

    def run(self, parent: Artifact, out: Path) -> Produced:
        self._built.append(parent.name)
        out.write_bytes(parent.path.read_bytes())
        return Produced(sidecar={"schema": 1})


@dataclass(frozen=True)
class ImitatedEngine:
    """Runs such a plan, if its side-car lies beside it; at its `spoiled` batch it gives nothing right."""

    spoiled: int = 0
    _batches: list[int] = field(default_factory=list)
    name: str = "imitation"

    def unavailable(self, artifact: Artifact) -> str | None:
        return None

    def open(self, artifact: Artifact) -> Any:
        assert artifact.format is Format.TENSORRT_PLAN
        assert json.loads(sidecar_path(artifact.path).read_text()) == {"schema": 1}
        session = RoundedOnnxRuntime().open(replace(artifact, format=Format.ONNX))
        infer = session.infer

        def spoiling(images: np.ndarray) -> Any:
            self._batches.append(len(images))
            found = infer(images)
            return (
                {name: np.full_like(v, np.nan) for name, v in found.items()} if len(images) == self.spoiled else found
            )

        session.infer = spoiling
        return session


def test_an_engine_is_built_for_each_trial_and_run_at_every_batch(v1: Chain, tmp_path: Path) -> None:
    folder = run_of(v1, tmp_path, fp32=[loud_values(1)])
    build, engine = ImitatedBuild(), ImitatedEngine()
    result = bisect(folder, FINITE, executor=lambda *_: Executor(engine, build))
    assert result.found.blocks == ("blocks.1",) and result.backend == "imitation"
    assert len(build._built) == result.measured + 1  # and the file that was written
    assert build._built[-1] == "fp16.bisected" and set(engine._batches) == {1, 2, 4}
    assert bisect(folder, replace(FINITE, resume=True)).resumed == 0  # what a CPU gives is another measurement


def test_a_fault_at_one_batch_alone_is_seen(v1: Chain, tmp_path: Path) -> None:
    folder = run_of(v1, tmp_path)
    result = bisect(folder, FINITE, executor=lambda *_: Executor(ImitatedEngine(spoiled=4), ImitatedBuild()))
    assert result.status == 4 and result.found.blocks is None


def test_a_file_that_does_not_hold_in_the_final_run_is_kept_aside(v1: Chain, tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Fickle(ImitatedBuild):
        def run(self, parent: Artifact, out: Path) -> Produced:
            produced = super().run(parent, out)
            if parent.name != "trial":
                out.write_bytes((folder / "int8.onnx").read_bytes())
            return produced

    folder = run_of(v1, tmp_path, fp32=[loud_values(1)])
    asked = replace(FINITE, metric=Metric.SQNR, need=52.0)
    result = bisect(folder, asked, executor=lambda *_: Executor(ImitatedEngine(), Fickle()))
    assert result.status == 4 and "in the final run they give" in result.verdict
    assert (folder / "fp16.bisected.onnx.rejected").is_file() and not (folder / "fp16.bisected.onnx").exists()
    assert read_manifest(folder).step("fp16-bisected").verdict is Verdict.FAIL
    assert bisect(folder, FINITE).status == 0
    assert (folder / "fp16.bisected.onnx").is_file() and not (folder / "fp16.bisected.onnx.rejected").exists()


def test_the_runs_own_images_are_used_where_they_still_are(v1: Chain, tmp_path: Path) -> None:
    folder = run_of(v1, tmp_path)
    manifest = read_manifest(folder)
    data = tmp_path / "images.npz"
    generator = np.random.default_rng(0)
    np.savez(data, images=generator.integers(0, 256, (6, 28, 28, 3), np.uint8), labels=np.arange(6) % 5)
    write_manifest(replace(manifest, recipe={**manifest.recipe, "eval_data": str(data)}), folder)
    assert bisect(folder, replace(FINITE, images=0)).images == 6
    data.unlink()
    assert bisect(folder, FINITE).source.startswith("synthetic")


def test_the_command_to_build_again_names_the_plan_and_the_scales(v1: Chain, tmp_path: Path) -> None:
    folder = run_of(v1, tmp_path / "my run")
    asked = Asked("int8", need=60.0, images=4)
    assert bisect(folder, asked).rebuild == ""  # no recipe
    (folder / "recipe.toml").write_text("")
    (folder / "int8.calibration.npz").write_bytes(b"")
    result = bisect(folder, asked)
    assert result.plan_file == "int8.bisected.plan"
    assert result.rebuild == (
        f"swin-deploy build --recipe '{folder}/recipe.toml' --precision-plan '{folder}/int8.bisected.plan' "
        f"--calibration '{folder}/int8.calibration.npz' --out '{folder}.bisected'"
    )


def test_a_plan_of_an_earlier_search_does_not_outlive_a_mixture_that_fails(
    v1: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_of(v1, tmp_path)
    asked = Asked("int8", need=60.0, images=4)
    assert bisect(folder, asked).plan_file and (folder / "int8.bisected.plan").is_file()
    right = MixtureJudge.measured

    def wrong(self: MixtureJudge, path: Path) -> tuple[Measurement, float]:
        return right(self, folder / "int8.onnx" if path.name == "int8.bisected.onnx" else path)

    monkeypatch.setattr(MixtureJudge, "measured", wrong)
    assert bisect(folder, replace(asked, resume=True)).status == 4
    assert not (folder / "int8.bisected.plan").exists()


def test_what_was_measured_on_another_gpu_is_measured_again(
    v1: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_of(v1, tmp_path)
    again = replace(FINITE, resume=True)
    bisect(folder, FINITE)
    assert bisect(folder, again).resumed == 2
    monkeypatch.setattr(search_run, "machine", lambda: {"gpu": "another"})
    assert bisect(folder, again).resumed == 0


def test_the_command_to_build_an_fp16_mixture_again_names_its_blocks(v1: Chain, tmp_path: Path) -> None:
    folder = run_of(v1, tmp_path, fp32=[loud_values(1)])
    (folder / "recipe.toml").write_text("")
    result = bisect(folder, FINITE)
    assert result.found.blocks
    assert f"--fp32-blocks {','.join(result.found.blocks)} " in result.rebuild
    manifest = read_manifest(folder)
    write_manifest(replace(manifest, recipe={**manifest.recipe, "profile": ["strong", "trt86"]}), folder)
    assert " --profile strong --fp32-blocks" in bisect(folder, replace(FINITE, resume=True)).rebuild


def test_a_need_that_the_metric_does_not_have_is_refused(v1: Chain, tmp_path: Path) -> None:
    folder = run_of(v1, tmp_path)
    with pytest.raises(UsageFault, match="--need"):
        bisect(folder, Asked("fp16", Metric.AGREEMENT, need=95.0))
    with pytest.raises(UsageFault, match="--images -1"):
        bisect(folder, Asked("fp16", images=-1))
