"""The toolkit's own kernels in a bundle: compiled for the target's GPUs, or left out with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swin_deploy.artifact import Format, Precision
from swin_deploy.bundle.fixtures import pack_fixtures
from swin_deploy.bundle.kernel_programs import pack_programs, recorded_batches
from swin_deploy.bundle.pack import PackOptions, pack
from swin_deploy.bundle.targets import TARGETS
from swin_deploy.bundle.unpack import unpacked
from swin_deploy.device.bundle_file import read_bundle
from swin_deploy.device.fixture_replay import Fixtures
from swin_deploy.device.kernel_program import checked_content, read_program
from swin_deploy.errors import BadInput
from swin_deploy.kernels import ahead_of_time, make_program
from swin_deploy.manifest import read_manifest
from swin_deploy.parity.gates import GATES, GateName


@pytest.fixture(scope="module")
def fixtures(run: Path) -> Fixtures:
    return pack_fixtures(run, read_manifest(run), None).fixtures


def left_out(
    run: Path,
    fixtures: Fixtures,
    target: str = "orin",
    precisions: tuple[Precision, ...] = (Precision.FP16,),
    **changes: Any,
) -> str:
    """What is said where no program is made."""
    said: list[str] = []
    manifest = replace(read_manifest(run), **changes)
    assert pack_programs(run / "nowhere", run, manifest, TARGETS[target], precisions, fixtures, said.append) == ()
    assert not (run / "nowhere").exists()
    return " ".join(said)


def test_a_bundle_has_the_kernels_for_its_target(run: Path, tmp_path: Path) -> None:
    said: list[str] = []
    options = PackOptions("orin", tensorrt="10.3", precisions=("fp16", "int8"), kernels=True)
    bundle = pack(run, tmp_path / "x.tar", options, said.append)
    folder = unpacked(tmp_path / "x.tar", tmp_path)
    (entry,) = bundle.programs
    assert [program.facts() for program in read_bundle(folder).programs] == [entry.facts()]
    assert (entry.name, entry.precision, entry.folder) == ("kernels-fp16", Precision.FP16, "kernels/fp16")
    assert entry.gate.facts() == GATES[GateName.FP16_ENGINE].facts()
    assert [engine.name for engine in bundle.engines] == ["fp16", "int8"], "the engines are what they were"
    assert any("kernels for compute capability 8.7;" in text and "not executed" in text for text in said)
    assert bundle.check_files(folder) > 0
    program = read_program(folder / entry.folder)
    assert (program.capabilities, program.batches, program.image) == (("8.7",), (1, 2, 4), (3, 28, 28))
    assert (program.output.name, program.output.shape, program.output.type) == ("logits", (5,), "fp16")
    used = {launch.kernel for batch in program.programs.values() for launch in batch.launches}
    assert used == set(program.kernels)
    assert {kernel.entry for kernel in program.kernels.values()} == {
        "patch_embed_kernel", "linear_kernel", "window_attention_kernel", "mlp_kernel", "token_mean_kernel",
    }  # fmt: skip
    for kernel in program.kernels.values():
        code = checked_content(folder / entry.folder, kernel.modules["8.7"])
        assert code[:4] == b"\x7fELF" and str(Path.cwd()).encode() not in code


def test_without_being_asked_nothing_is_compiled(run: Path, tmp_path: Path) -> None:
    options = PackOptions("orin", tensorrt="10.3", precisions=("fp16",))
    assert pack(run, tmp_path / "x.tar", options, lambda text: None).programs == ()


@pytest.mark.parametrize(
    ("target", "changes", "reason"),
    [
        ("xavier", {}, "no code for Jetson Xavier"),
        ("orin", {"task": "backbone"}, "a backbone has more"),
        ("orin", {"fp32_blocks": ["blocks.0"]}, "keeps blocks in FP32"),
        ("orin", {"format": Format.CAPTURED.value}, "a network of the user's own"),
    ],
)
def test_what_there_is_no_program_of_is_left_out_with_the_reason(
    target: str, changes: Mapping[str, Any], reason: str, run: Path, fixtures: Fixtures
) -> None:
    manifest = read_manifest(run)
    steps = tuple(
        replace(step, format=changes["format"]) if step.artifact == "reference" and "format" in changes else step
        for step in manifest.steps
    )
    recipe = {**manifest.recipe, **{key: value for key, value in changes.items() if key == "fp32_blocks"}}
    evaluation = dict(manifest.evaluation)
    if "task" in changes:
        evaluation["task"] = {**evaluation["task"], "kind": changes["task"]}
    said = left_out(run, fixtures, target, steps=steps, recipe=recipe, evaluation=evaluation)
    assert said.startswith("kernels-fp16: left out: ") and reason in said


def test_without_triton_they_are_left_out(run: Path, fixtures: Fixtures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead_of_time, "unavailable", lambda: "Triton is not installed")
    assert "pip install 'swin-deploy[kernels]'" in left_out(run, fixtures)


def test_a_fused_form_that_is_not_the_network_is_left_out(run: Path, fixtures: Fixtures) -> None:
    other = {name: np.ascontiguousarray(values[::-1]) for name, values in fixtures.oracle.items()}
    assert "failed on the fixtures" in left_out(run, replace(fixtures, oracle=other))


def test_int8_and_fp32_have_no_program(run: Path, fixtures: Fixtures) -> None:
    said = left_out(run, fixtures, precisions=(Precision.INT8, Precision.FP32))
    assert said == "no kernel program: they compute in FP16 or BF16, and the bundle's engines in int8, fp32"


def test_nothing_of_a_program_that_is_left_out_midway_stays_in_the_bundle(
    run: Path, fixtures: Fixtures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def halfway(network: Any, recorded: Any, request: Any, folder: Path) -> Any:
        folder.mkdir(parents=True)
        (folder / "weights.bin").write_bytes(b"half")
        raise BadInput("the program has a grid that no GPU takes")

    monkeypatch.setattr(make_program, "make_program", halfway)
    said: list[str] = []
    manifest = read_manifest(run)
    assert pack_programs(tmp_path, run, manifest, TARGETS["orin"], (Precision.FP16,), fixtures, said.append) == ()
    assert "left out: the program has a grid" in said[-1]
    assert not list(tmp_path.rglob("weights.bin"))


@pytest.mark.parametrize(
    ("batches", "recorded"),
    [((1, 8, 32), (1, 2, 4, 8, 16, 32)), ((1, 1, 1), (1,)), ((3, 5, 12), (3, 4, 5, 8, 12))],
)
def test_no_batch_runs_in_one_of_twice_its_size(batches: tuple[int, int, int], recorded: tuple[int, ...]) -> None:
    assert recorded_batches(batches) == recorded
    for size in range(batches[0], batches[2] + 1):
        assert min(entry for entry in recorded if entry >= size) < 2 * size


def test_every_architecture_of_a_target_is_one_that_the_compiler_takes() -> None:
    assert {name for target in TARGETS.values() for name in target.architectures} <= set(ahead_of_time.ARCHITECTURES)
    assert TARGETS["orin"].architectures == ("8.7",) and TARGETS["thor"].architectures == ("11.0",)
