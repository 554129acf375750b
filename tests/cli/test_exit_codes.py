"""Every documented exit status, reached by a user's real mistake, with a message that helps and no traceback."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import click
import pytest

import cli.main
from calib.synthetic import structured_images
from swin_deploy.errors import EnvironmentFault, GateFailed, Unavailable

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "cifar10" / "swin_v1_cifar10.safetensors"


def swin_deploy(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "swin_deploy", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        **options,
    )


def refused(run: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    assert run.returncode == status, run.stderr
    assert "Traceback" not in run.stderr
    for word in words:
        assert word in run.stderr, f"{word!r} is not in: {run.stderr}"


@pytest.fixture()
def copy(tmp_path: Path) -> Path:
    """The example's checkpoint and side-car, to be spoiled."""
    shutil.copy(EXAMPLE, tmp_path / "model.safetensors")
    shutil.copy(EXAMPLE.with_suffix(".json"), tmp_path / "model.json")
    return tmp_path / "model.safetensors"


def test_a_renamed_key_is_named_and_ends_with_5(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy)
    tensors["layers.1.blocks.3.attn.qkvv.weight"] = tensors.pop("layers.1.blocks.3.attn.qkv.weight")
    save_file(tensors, copy)
    out = copy.parent / "run"
    run = swin_deploy("build", copy, "--fp16", "--out", out)
    refused(run, 5, "layers.1.blocks.3.attn.qkv.weight", "layers.1.blocks.3.attn.qkvv.weight")
    assert not out.exists()


def test_a_truncated_file_ends_with_5_and_says_how_much_is_there(copy: Path) -> None:
    size = copy.stat().st_size
    os.truncate(copy, size // 2)
    refused(swin_deploy("build", copy, "--fp16", "--out", copy.parent / "run"), 5, "truncated", str(size))


def test_a_text_file_named_safetensors_ends_with_5(copy: Path) -> None:
    copy.write_text("This is a long story about a window that was shifted.\n")
    refused(swin_deploy("inspect", copy), 5, "not a safetensors file")


class Malicious:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return os.system, (f"touch {self.target}",)  # type: ignore[attr-defined]


def test_a_pickle_that_would_run_code_ends_with_5_and_does_not_run(tmp_path: Path) -> None:
    import torch

    trap = tmp_path / "ran"
    Malicious.target = str(trap)  # type: ignore[attr-defined]
    torch.save({"state_dict": Malicious()}, tmp_path / "model.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Malicious()))
    for name in ("model.pth", "bare.pth"):
        refused(swin_deploy("inspect", tmp_path / name), 5, "run code")
        assert not trap.exists()


@pytest.fixture()
def one_image(tmp_path: Path) -> Path:
    from PIL import Image

    folder = tmp_path / "images" / "cat"
    folder.mkdir(parents=True)
    Image.fromarray(structured_images(1, 32, 32, seed=0)[0]).save(folder / "fine.jpg")
    return folder


def test_a_broken_jpeg_is_named_and_ends_with_5_before_anything_is_built(one_image: Path, tmp_path: Path) -> None:
    whole = (one_image / "fine.jpg").read_bytes()
    (one_image / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    run = swin_deploy("build", EXAMPLE, "--eval-data", one_image.parent, "--out", tmp_path / "run")
    refused(run, 5, "broken.jpg")
    assert not (tmp_path / "run").exists()


def test_an_empty_calibration_folder_ends_with_5(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    run = swin_deploy("build", EXAMPLE, "--int8", "--calib-data", tmp_path / "empty", "--out", tmp_path / "run")
    refused(run, 5, "empty", "no image")
    assert not (tmp_path / "run").exists()


def test_calibrating_on_evaluation_images_ends_with_5(one_image: Path, tmp_path: Path) -> None:
    data = one_image.parent
    run = swin_deploy("build", EXAMPLE, "--int8", "--calib-data", data, "--eval-data", data, "--out", tmp_path / "run")
    refused(run, 5, "fine.jpg", "evaluation")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["build", str(EXAMPLE), "--fp17"], "--fp17"),
        (["build"], "checkpoint"),
        (["build", str(EXAMPLE), "--int8"], "--calib-data"),
        (["build", str(EXAMPLE), "--batch", "8,1,32"], "ascending"),
        (["build", str(EXAMPLE), "--batch", "many"], "many"),
        (["build", str(EXAMPLE), "--target", "tpu"], "tpu"),
        (["build", str(EXAMPLE), "--sm", "eight"], "eight"),
        (["build", str(EXAMPLE), "--sm", "8.6,8.6"], "each once"),
        (["build", str(EXAMPLE), "--batch", "\u00b2"], "no batch profile"),
        (["build", str(EXAMPLE), "--target", "torch", "--profile", "trt86"], "--profile trt86"),
        (["build", str(EXAMPLE), "--require", "luck"], "luck"),
        (["build", str(EXAMPLE), "--image-size", "0"], "0"),
        (["bake", str(EXAMPLE)], "bake"),
    ],
)
def test_usage_ends_with_2_and_names_the_option(arguments: list[str], word: str) -> None:
    refused(swin_deploy(*arguments), 2, word)


def test_an_image_size_that_does_not_fit_ends_with_5_and_says_which_would() -> None:
    refused(swin_deploy("inspect", EXAMPLE, "--image-size", "61"), 5, "61", "multiple")


def test_a_target_that_is_not_installed_ends_with_3(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from swin_deploy import plan

    monkeypatch.setattr(plan, "package_unavailable", lambda package: f"{package} is not installed")
    assert cli.main.status_of(["build", str(EXAMPLE), "--fp16", "--target", "tensorrt"]) == 3
    assert "tensorrt is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (Unavailable("a"), 3),
        (GateFailed("a"), 4),
        (EnvironmentFault("a"), 6),
        (MemoryError(), 6),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4000000000000000 bytes."), 6),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (click.UsageError("a"), 2),
        (click.FileError("a"), 5),
    ],
)
def test_every_kind_of_error_has_its_status(raised: BaseException, status: int, monkeypatch, capsys) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(cli.main.program, "main", fail)
    assert cli.main.status_of([]) == status
    assert "Traceback" not in capsys.readouterr().err


def test_a_defect_of_ours_ends_with_1_and_a_traceback() -> None:
    code = textwrap.dedent(
        """
        import cli.main
        def fail(*a, **k): raise ZeroDivisionError("ours")
        cli.main.program.main = fail
        cli.main.main()
        """
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 1 and "Traceback" in run.stderr and "ZeroDivisionError" in run.stderr


def _tiny_disk(folder: Path) -> list[str] | None:
    """A command prefix that runs a program with a 4 MiB file system at `folder`, where this machine allows it."""
    probe = f"mount -t tmpfs -o size=4m tmpfs {folder} && true"
    for prefix in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        if not shutil.which("unshare"):
            return None
        if subprocess.run([*prefix, "sh", "-c", probe], capture_output=True, check=False).returncode == 0:
            return [*prefix, "sh", "-c", f'mount -t tmpfs -o size=4m tmpfs {folder} && "$@"', "sh"]
    return None


def test_a_full_disk_ends_with_6_and_leaves_no_half_written_file(tmp_path: Path) -> None:
    """The folder has 4 MiB, the first artifact needs 12."""
    folder = tmp_path / "disk"
    folder.mkdir()
    prefix = _tiny_disk(folder)
    if prefix is None:
        pytest.skip("mounting a small file system is not allowed here")
    script = (
        f"{sys.executable} -m swin_deploy build {EXAMPLE} --fp16 --out {folder}/run; echo status $?; ls -A {folder}/run"
    )
    run = subprocess.run([*prefix, "sh", "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "status 6" in run.stdout, run.stdout + run.stderr
    assert "Traceback" not in run.stderr and "could not be written" in run.stderr
    left = run.stdout.split("status 6\n", 1)[1].split()
    assert "reference.safetensors" not in left and not [name for name in left if name.startswith(".partial")]


def test_a_file_size_limit_ends_with_6(tmp_path: Path) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write then fails with EFBIG instead of killing us
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    run = swin_deploy("build", EXAMPLE, "--fp16", "--out", tmp_path / "run", preexec_fn=limit)
    refused(run, 6, "could not be written")
    assert not (tmp_path / "run" / "reference.safetensors").exists()


def test_interrupting_a_build_ends_with_130_and_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "swin_deploy", "build", str(EXAMPLE), "--out", str(out)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (out / "reference.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "--resume" in errors and "Traceback" not in errors
    assert not list(out.glob(".partial*"))


def test_the_statuses_of_the_help_text_and_of_the_readme_agree() -> None:
    readme = (ROOT / "README.md").read_text()
    for status in ("0", "1", "2", "3", "4", "5", "6", "130"):
        assert f"| {status} |" in readme, f"status {status} is not in the README's table"
    assert json.dumps(cli.main.EXIT_CODES).count(";") == 7
