"""Cubins of machines that are not here: for every architecture, with what they take of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from swin_deploy.errors import EnvironmentFault
from swin_deploy.kernels import ahead_of_time
from swin_deploy.kernels.add_norm import add_norm
from swin_deploy.kernels.ahead_of_time import ARCHITECTURES, Compiled, KernelSource, compile_kernels
from swin_deploy.kernels.recorded_run import RecordedRun

ELF = b"\x7fELF"
MACHINE = 190  # EM_CUDA in the header of an ELF file


def source(channels: int = 96, dtype: torch.dtype = torch.float16, *, residual: bool = True) -> KernelSource:
    run = RecordedRun()
    x = torch.empty(40, channels, dtype=dtype, device="meta")
    add_norm(run, x if residual else None, x, torch.ones(channels), torch.ones(channels), eps=1e-5)
    return KernelSource.of(run.launches[0])


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    return compile_kernels([source(), source(residual=False)], tuple(ARCHITECTURES))


def test_every_architecture_gets_a_cubin_without_a_gpu(compiled: Compiled) -> None:
    assert not compiled.refused
    assert {architecture for _, architecture in compiled.cubins} == set(ARCHITECTURES)
    codes = [cubin.code for cubin in compiled.cubins.values()]
    assert all(code[:4] == ELF and int.from_bytes(code[18:20], "little") == MACHINE for code in codes)
    assert len(set(codes)) == len(codes), "none is another's"


def test_parameters_are_those_that_are_there_and_the_two_of_the_compiler(compiled: Compiled) -> None:
    for (name, _), cubin in compiled.cubins.items():
        wanted = ("y", "weight", "bias", "out", "rows")
        assert cubin.parameters == (wanted if name == source(residual=False).id else ("x", *wanted))
        assert (cubin.entry, cubin.scratch_parameters) == ("add_norm_kernel", 2)
        assert cubin.warps == source().warps


def test_resources_are_read_from_the_cubin_and_nothing_spills(compiled: Compiled) -> None:
    for cubin in compiled.cubins.values():
        assert 16 <= cubin.registers <= 255 and cubin.stack == 0
        assert 0 < cubin.shared <= 99 * 1024


def test_a_kernel_that_spills_is_seen_to() -> None:
    wide = replace(source(512), constants={**source(512).constants, "BLOCK_ROWS": 16}, warps=1)
    (cubin,) = compile_kernels([wide], ["8.7"]).cubins.values()
    assert cubin.registers == 255 and cubin.stack > 0


def test_cubins_hold_nothing_of_this_machine(compiled: Compiled) -> None:
    home = str(Path(ahead_of_time.__file__).resolve().parents[2]).encode()
    for cubin in compiled.cubins.values():
        assert home not in cubin.code and b"/tmp" not in cubin.code and b".py" not in cubin.code


def test_equal_sources_are_one_and_others_are_not() -> None:
    assert source().id == source().id
    assert len({source().id, source(48).id, source(residual=False).id, source(dtype=torch.bfloat16).id}) == 4


def test_what_does_not_compile_is_refused_with_the_compilers_words_and_spares_the_others() -> None:
    broken = replace(source(), constants={**source().constants, "BLOCK_CHANNELS": 100})
    done = compile_kernels([broken, source()], ["8.7"])
    assert set(done.cubins) == {(source().id, "8.7")}
    assert "power of 2" in done.refused[broken.id, "8.7"]


def test_more_shared_memory_than_there_is_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead_of_time, "ARCHITECTURES", {"8.7": 0})
    assert "bytes of shared memory" in compile_kernels([source()], ["8.7"]).refused[source().id, "8.7"]


def test_a_process_that_interprets_kernels_still_compiles_them() -> None:
    code = (
        "from tests.kernels.test_ahead_of_time import source\n"
        "from swin_deploy.kernels.ahead_of_time import compile_kernels\n"
        "print(len(compile_kernels([source()], ['8.7']).cubins))"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(root)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=root)
    assert run.stdout.strip() == "1", run.stderr


def test_a_child_that_dies_is_a_fault_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(EnvironmentFault, match=r"status 3: gone"):
        patch.setattr(ahead_of_time, "_START", "import sys; print('gone', file=sys.stderr); sys.exit(3)")
        compile_kernels([source()], ["8.7"])


def test_what_is_stopped_leaves_no_process_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    note = tmp_path / "grandchild"
    code = (
        "import subprocess, sys, time; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        f"open({str(note)!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )
    monkeypatch.setattr(ahead_of_time, "_START", code)
    monkeypatch.setattr(ahead_of_time, "_SECONDS_A_KERNEL", 3.0)
    with pytest.raises(EnvironmentFault, match="took more than"):
        compile_kernels([source()], ["8.7"])
    assert_ends(note)


def test_an_interrupt_ends_the_compilers_at_once(tmp_path: Path) -> None:
    # As in a terminal's Ctrl-C, which the compilers, of sessions of their own, do not see.
    note = tmp_path / "child"
    child = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    code = (
        "from swin_deploy.kernels import ahead_of_time as made; "
        f"made._START = {child!r}; "
        "made.compile_kernels([made.KernelSource('none', {}, {}, 4, 1)], ['8.7'])"
    )
    root = Path(ahead_of_time.__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, cwd=root) as run:
        for _ in range(600):
            if note.exists() and note.read_text():
                break
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in run.communicate(timeout=30)[1]
    assert_ends(note)


def assert_ends(note: Path) -> None:
    """The process whose number stands in `note` is gone, or will be at once."""
    for _ in range(100):  # until the system has taken it away
        state = Path("/proc", note.read_text(), "stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError("a process lives on")
