"""A kernel program on an imitated GPU whose kernels are NumPy; tests/kernels/interpreted has the real kernels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board import images, oracle
from launching_driver import LaunchingDriver, numpy_kernels
from toy_program import change, write_toy

from swin_deploy.device.cuda_memory import Device
from swin_deploy.device.kernel_program import read_program
from swin_deploy.device.kernel_session import KernelSession, why_not
from swin_deploy.errors import BadInput, EnvironmentFault, Unavailable


def made_driver(behaviour: str = "sound", **more: Any) -> LaunchingDriver:
    return LaunchingDriver("8.7", carry_out=numpy_kernels(behaviour), **more)


def opened(folder: Path, driver: LaunchingDriver, **more: Any) -> KernelSession:
    return KernelSession(folder, read_program(folder), Device(library=driver), **more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_toy(tmp_path)
    return tmp_path


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_every_batch_up_to_the_largest_is_answered_and_all_is_given_back(folder: Path, cuda_graph: bool) -> None:
    driver, given = made_driver(), images()
    with opened(folder, driver, cuda_graph=cuda_graph) as session:
        for count in (1, 3, 4, 2, 1):
            np.testing.assert_allclose(session.infer(given[:count])["sums"], oracle(given[:count])["sums"], rtol=1e-5)
        assert driver.held.count("executable graph") == (2 if cuda_graph else 0), "one a recorded batch"
        assert session.device_bytes() == 8 + 4 * 4 * (48 + 48 + 2), "weights; arena, images and output of 4"
    assert not driver.held and not driver.memory and not driver.pinned
    session.close()  # a second time does nothing


def test_what_answers_is_the_graph_from_the_first_call_on(folder: Path) -> None:
    driver = made_driver()
    with opened(folder, driver) as session:
        session.infer(images())
        assert driver.launches == 1
        session.infer(images())
        assert driver.launches == 2


def test_a_call_leaves_nothing_for_the_next(folder: Path) -> None:
    given = images()
    with opened(folder, made_driver()) as session:
        broken = given.copy()
        broken[1:] = np.nan
        found = session.infer(broken)["sums"]
        assert np.isfinite(found[0]).all() and np.isnan(found[1:]).all()
        np.testing.assert_allclose(session.infer(given)["sums"], oracle(given)["sums"], rtol=1e-5)


def test_the_phases_are_told(folder: Path) -> None:
    with opened(folder, made_driver()) as session:
        _, phases = session.timed(images())
    assert (phases.copy_in, phases.compute, phases.copy_out) == (1.5, 1.5, 1.5)


@pytest.mark.parametrize("shape", [(5, 3, 4, 4), (0, 3, 4, 4), (1, 3, 4, 5), (3, 4, 4)])
def test_images_that_the_program_does_not_hold_are_refused(shape: tuple[int, ...], folder: Path) -> None:
    with opened(folder, made_driver()) as session, pytest.raises(BadInput, match="a batch of 1 to 4"):
        session.infer(np.zeros(shape, np.float32))


def test_a_gpu_without_compiled_kernels_and_no_gpu_are_reasons(folder: Path) -> None:
    program = read_program(folder)
    assert why_not(program, library=made_driver()) is None
    other = LaunchingDriver("8.6", carry_out=numpy_kernels())
    assert why_not(program, library=other) == (
        "the GPU here has compute capability 8.6, and the kernels were compiled for 8.7"
    )
    assert "finds no usable GPU" in str(why_not(program, library=made_driver(fails={"cuInit": 100})))


def test_a_cubin_of_another_architecture_is_refused_by_the_driver_and_explained(folder: Path) -> None:
    code = json.loads((folder / "sm_87/sums.cubin").read_text())
    change(folder, "sm_87/sums.cubin", json.dumps({**code, "architecture": "9.0"}).encode())
    driver = made_driver()
    with pytest.raises(Unavailable, match="sums_kernel is for another GPU architecture"):
        opened(folder, driver)
    assert not driver.held and not driver.memory


@pytest.mark.parametrize("file", ["sm_87/sums.cubin", "weights.bin"])
def test_a_tampered_file_is_refused_before_it_is_used(file: str, folder: Path) -> None:
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    driver = made_driver()
    with pytest.raises(BadInput, match=rf"{file} has SHA-256"):
        opened(folder, driver)
    assert not driver.held and not driver.memory


@pytest.mark.parametrize(
    ("content", "kind", "named"),
    [
        (b"\x7fELF", Unavailable, r"does not take the compiled kernel sums_kernel \(CUDA error 200\)"),
        (b'{"kernel": "other", "warps": 4, "types": {}}', BadInput, "no function sums_kernel"),
    ],
)
def test_what_the_driver_does_not_take_and_another_kernel_are_explained(
    content: bytes, kind: type[Exception], named: str, folder: Path
) -> None:
    change(folder, "sm_87/sums.cubin", content)
    driver = made_driver()
    with pytest.raises(kind, match=named):
        opened(folder, driver)
    assert not driver.held


def test_too_little_memory_is_a_fault_of_the_environment_and_gives_all_back(folder: Path) -> None:
    driver = made_driver(fails={"cuMemAlloc_v2": 2})
    with pytest.raises(EnvironmentFault, match="out of memory"):
        opened(folder, driver)
    assert not driver.held and not driver.memory


def test_a_kernel_that_leaves_its_memory_is_a_fault_and_closing_still_works(folder: Path) -> None:
    driver = made_driver("astray")
    with pytest.raises(EnvironmentFault, match="CUDA error 700"), opened(folder, driver) as session:
        session.infer(images())
    assert not driver.held and not driver.memory


def test_launches_that_cannot_be_captured_say_so(folder: Path) -> None:
    driver = made_driver(fails={"cuStreamEndCapture": 901})
    with opened(folder, driver) as session, pytest.raises(Unavailable, match="without a CUDA graph"):
        session.infer(images())


def test_bf16_comes_back_as_the_same_numbers_in_fp32(folder: Path) -> None:
    raw = json.loads((folder / "program.json").read_text())
    # The bits of FP32 [2] seen as BF16 [4].
    raw["output"] = {"name": "sums", "shape": [4], "type": "bf16"}
    (folder / "program.json").write_text(json.dumps(raw))
    with opened(folder, made_driver()) as session:
        found = session.infer(images()[:1])["sums"]
    bits = oracle(images()[:1])["sums"].view(np.uint16).astype(np.uint32) << 16
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 1::2], bits.view(np.float32)[:, 1::2], rtol=1e-2)
