"""What every backend promises that can execute on any machine: open, infer, close, and no more.

The engines' backends need a GPU; what can be said of them without one is in tests/backends.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends.aot_inductor import AotInductor
from swin_deploy.backends.base import Backend, Session
from swin_deploy.backends.onnxruntime import OnnxRuntime, tensors_of
from swin_deploy.backends.onnxruntime_rounded import RoundedOnnxRuntime
from swin_deploy.backends.torch_compile import TorchCompile
from swin_deploy.backends.torch_eager import TorchEager
from swin_deploy.backends.torch_fused import TorchFused
from swin_deploy.backends.torch_session import TorchSession
from swin_deploy.checkpoint.task import Backbone
from swin_deploy.errors import BadInput, Unavailable
from swin_deploy.model.fold import fold
from swin_deploy.model.forms import save_deployment, save_reference
from swin_deploy.stages.compile import Compile
from swin_deploy.stages.export import Export
from tests.chain import Chain, decibels, random_images
from tests.random_swin import random_reference, small_spec

P = Precision
Images = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """A backend with an artifact it opens, and how near one image's answer must be alone and in a batch."""

    backend: Backend
    artifact: str
    rows: float  # dB

    def __str__(self) -> str:
        """As pytest shows it."""
        return f"{self.backend.name}-{self.artifact}"


# In half precision a sum's order may change a rounding, and in a Q/DQ graph a last bit may change a code.
CASES = [
    Case(TorchEager("cpu"), "reference", 100),
    Case(TorchEager("cpu"), "deployment", 100),
    Case(TorchEager("cpu"), "half.fp16", 50),
    Case(TorchEager("cpu"), "half.bf16", 30),
    Case(TorchEager("cpu"), "captured", 100),
    Case(TorchEager("cpu"), "captured.deployment", 100),
    Case(TorchFused("cpu"), "deployment", 100),
    Case(TorchFused("cpu"), "half.fp16", 50),
    Case(TorchFused("cpu"), "half.bf16", 30),
    Case(TorchCompile(), "small", 100),
    Case(TorchCompile(), "captured.deployment", 100),
    Case(AotInductor(), "compiled", 100),
    Case(AotInductor(), "captured.compiled", 100),
    Case(OnnxRuntime(), "exported", 100),
    Case(OnnxRuntime(), "captured.exported", 100),
    Case(OnnxRuntime(literal=True), "simplified", 100),
    Case(OnnxRuntime(), "fp16", 100),
    Case(OnnxRuntime(), "bf16", 100),
    Case(OnnxRuntime(), "qdq", 30),
    Case(OnnxRuntime(literal=True), "int8", 30),
    Case(OnnxRuntime(literal=True), "fp8", 25),
    Case(OnnxRuntime(), "lowered", 100),
    Case(RoundedOnnxRuntime(), "fp16", 50),
    Case(RoundedOnnxRuntime(), "bf16", 30),
    Case(RoundedOnnxRuntime(), "int8", 30),
]
BACKENDS: list[Backend] = [
    TorchEager(),
    TorchFused(),
    TorchCompile(),
    AotInductor(),
    OnnxRuntime(),
    OnnxRuntime(literal=True),
    RoundedOnnxRuntime(),
]
OPENED = {
    "torch": {Format.CHECKPOINT, Format.DEPLOYMENT, Format.CAPTURED},
    "torch, fused": {Format.DEPLOYMENT},
    "torch.compile": {Format.DEPLOYMENT, Format.CAPTURED},
    "aotinductor": {Format.AOTINDUCTOR},
    "onnxruntime": {Format.ONNX},
    "onnxruntime, literal": {Format.ONNX},
    "onnxruntime, results rounded": {Format.ONNX},
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """One stage with a plain and a shifted block: torch.compile takes its time for every kernel."""
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    save_deployment(fold(random_reference(small_spec("v1", depths=(2,), heads=(2,)))), path)
    return Artifact("small", path, Format.DEPLOYMENT, P.FP32)


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def artifact(case: Case, v1: Chain, small: Artifact) -> Artifact:
    return small if case.artifact == "small" else v1.artifact(case.artifact)


@pytest.fixture(scope="module")
def session(case: Case, artifact: Artifact) -> Iterator[Session]:
    with case.backend.open(artifact) as session:
        yield session


class TestBackend:
    """One backend with one artifact."""

    def test_the_outputs_are_fp32_logits_with_the_batch_first(self, session: Session) -> None:
        outputs = session.infer(random_images(2))
        assert list(outputs) == ["logits"]
        assert outputs["logits"].dtype == np.float32
        assert outputs["logits"].shape == (2, 5)
        assert np.isfinite(outputs["logits"]).all()

    def test_an_image_gets_the_same_answer_in_any_batch(self, session: Session, case: Case) -> None:
        images = random_images(7)
        whole = session.infer(images)["logits"]
        assert whole.shape == (7, 5)
        pair = session.infer(images[3:5])["logits"]
        assert decibels(pair, whole[3:5]) >= case.rows
        for row in (0, 6):
            alone = session.infer(images[row : row + 1])["logits"]
            assert alone.shape == (1, 5)
            assert decibels(alone, whole[row : row + 1]) >= case.rows
        # The control: two images do not have the same answer.
        assert decibels(whole[:1], whole[6:]) < case.rows

    def test_the_images_are_left_as_they_are_and_need_not_be_contiguous(self, session: Session, case: Case) -> None:
        images = random_images(2)
        apart: Images = np.repeat(images, 2, axis=3)[:, :, :, ::2]
        assert not apart.flags.c_contiguous
        answer = session.infer(apart)["logits"]
        np.testing.assert_array_equal(apart, images)
        assert decibels(answer, session.infer(images)["logits"]) >= case.rows

    def test_read_only_images_are_taken(self, session: Session) -> None:
        images = random_images(2)
        images.flags.writeable = False
        assert session.infer(images)["logits"].shape == (2, 5)

    def test_the_backend_is_a_frozen_dataclass_with_a_name(self, case: Case) -> None:
        assert dataclasses.is_dataclass(case.backend)
        with pytest.raises(dataclasses.FrozenInstanceError):
            case.backend.name = "other"
        assert case.backend.name

    def test_it_is_available_for_what_it_opens(self, case: Case, artifact: Artifact) -> None:
        assert case.backend.unavailable(artifact) is None

    def test_closing_twice_is_harmless_and_a_closed_session_does_not_answer(
        self, case: Case, artifact: Artifact
    ) -> None:
        session = case.backend.open(artifact)
        session.close()
        session.close()
        with pytest.raises(AssertionError, match="closed"):
            session.infer(random_images(1))

    @pytest.mark.parametrize("damage", ["cut", "empty", "text", "missing"])
    @pytest.mark.filterwarnings("ignore:.*")
    def test_a_damaged_file_is_bad_input(self, case: Case, artifact: Artifact, damage: str, tmp_path: Path) -> None:
        path = tmp_path / artifact.path.name
        content = artifact.path.read_bytes()
        if damage != "missing":
            path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"hello " * 99}[damage])
        damaged = dataclasses.replace(artifact, path=path)
        assert case.backend.unavailable(damaged) is None
        with pytest.raises(BadInput, match=path.name):
            case.backend.open(damaged)


@pytest.mark.parametrize("kind", Format)
@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
def test_a_foreign_format_is_unavailable_with_a_reason(backend: Backend, kind: Format) -> None:
    artifact = Artifact("foreign", Path("nowhere"), kind, P.FP32)
    reason = backend.unavailable(artifact)
    if kind in OPENED[backend.name]:
        assert reason is None
        return
    assert reason is not None
    assert kind.value in reason
    with pytest.raises(Unavailable, match=kind.value):
        backend.open(artifact)


def test_torch_compile_gives_eagers_answer_from_one_graph(small: Artifact) -> None:
    import torch

    images = random_images(7)
    with TorchEager("cpu").open(small) as eager, TorchCompile().open(small) as compiled:
        torch._dynamo.utils.counters.clear()
        assert decibels(compiled.infer(images)["logits"], eager.infer(images)["logits"]) >= 100
        assert not torch._dynamo.utils.counters["graph_break"]


def test_without_a_compiler_torch_compile_is_unavailable_and_names_the_package(
    small: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = TorchCompile().unavailable(small)
    assert reason is not None
    assert "g++" in reason
    with pytest.raises(Unavailable, match=r"g\+\+"):
        TorchCompile().open(small)


def test_tf32_is_off_for_the_oracle(v1: Chain) -> None:
    import torch

    torch.backends.cudnn.allow_tf32 = True
    with TorchEager("cpu").open(v1.artifact("reference")):
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32


def test_the_inner_tensors_of_a_graph_are_those_that_were_named(v1: Chain) -> None:
    images = random_images(4)
    path = v1.artifact("simplified").path
    batches = list(tensors_of(path, ["images", "logits", "layer_norm", "logits"], [images[:3], images[3:]]))
    assert [set(batch) for batch in batches] == [{"images", "logits", "layer_norm"}] * 2
    np.testing.assert_array_equal(batches[1]["images"], images[3:])
    assert batches[0]["layer_norm"].shape == (3, 196, 16)
    got = np.concatenate([batch["logits"] for batch in batches])
    assert decibels(got, v1.logits(images)) >= 100


# Several outputs: the features of a backbone


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """A backbone of two stages as every file that some backend here opens."""
    folder = tmp_path_factory.mktemp("pyramid")
    paths = {name: folder / name for name in ("reference.safetensors", "deployment.safetensors")}
    model = random_reference(small_spec("v1", task=Backbone((0, 1), norms=True)))
    save_reference(model, paths["reference.safetensors"])
    save_deployment(fold(model), paths["deployment.safetensors"])
    found = {
        "reference": Artifact("reference", paths["reference.safetensors"], Format.CHECKPOINT, P.FP32),
        "deployment": Artifact("deployment", paths["deployment.safetensors"], Format.DEPLOYMENT, P.FP32),
    }
    for name, stage in (("compiled", Compile(P.FP32, 4)), ("exported", Export(4))):
        out = folder / (name + stage.suffix)
        stage.run(found["deployment"], out)
        found[name] = Artifact(name, out, *stage.produces)
    return found


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        (TorchEager("cpu"), "reference"),
        (TorchEager("cpu"), "deployment"),
        (TorchFused("cpu"), "deployment"),
        (TorchCompile(), "deployment"),
        (AotInductor(), "compiled"),
        (OnnxRuntime(), "exported"),
        (OnnxRuntime(literal=True), "exported"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_several_outputs_come_back_by_name_in_the_networks_order(
    pyramid: dict[str, Artifact], backend: Backend, name: str
) -> None:
    images = random_images(3)
    with TorchEager("cpu").open(pyramid["reference"]) as oracle, backend.open(pyramid[name]) as session:
        wanted, outputs = oracle.infer(images), session.infer(images)
    assert list(outputs) == ["stage0", "stage1"]
    assert [values.shape for values in outputs.values()] == [(3, 16, 14, 14), (3, 32, 7, 7)]
    for scale, values in outputs.items():
        assert values.dtype == np.float32
        assert decibels(values, wanted[scale]) >= 100
    # The control: the maps of two images differ.
    assert decibels(outputs["stage0"][:1], wanted["stage0"][1:2]) < 30


def test_a_function_of_unknown_outputs_has_them_numbered_and_a_mapping_is_taken_by_its_values() -> None:
    images = random_images(2)
    with TorchSession(lambda x: (x.sum(1), x.amax(1)), "cpu") as session:
        assert list(session.infer(images)) == ["output0", "output1"]
    with TorchSession(lambda x: {"sum": x.sum(1), "largest": x.amax(1)}, "cpu", ("first", "second")) as session:
        found = session.infer(images)
    assert list(found) == ["first", "second"]
    np.testing.assert_allclose(found["second"], images.max(axis=1))


def test_more_outputs_than_names_are_never_cut_off() -> None:
    with TorchSession(lambda x: (x, x), "cpu", ("only",)) as session, pytest.raises(ValueError, match="zip"):
        session.infer(random_images(1))
