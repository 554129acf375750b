"""Run a kernel program for the first time in a process of its own.

A kernel that reads or writes where it may not ends its process's CUDA context for good, and TensorRT's engines share
that context. So a program is tried in a child first: what happens there costs the caller nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from swin_deploy.device.child_process import signal_name, start_code
from swin_deploy.device.kernel_session import open_program
from swin_deploy.errors import BadInput, EnvironmentFault, ExplainedError, Unavailable

__all__ = ["try_program"]

_START = start_code("swin_deploy.device.kernel_trial")
_KINDS = {kind.exit_code: kind for kind in (Unavailable, BadInput)}


def try_program(folder: Path, images: Path, *, time_limit_s: float = 300.0) -> None:
    """Run the program in `folder` at each of its batch sizes, in a child process, and look at no answer.

    Args:
        folder: Where `program.json` lies.
        images: A `.npy` file with at least one image for each slot of the largest batch.
        time_limit_s: The child is killed after that many seconds.

    Raises:
        Unavailable: no GPU that it was compiled for.
        BadInput: a file of the program is missing or damaged.
        EnvironmentFault: a kernel faulted, the GPU is out of memory, or it took too long.
    """
    unwritten = ["-B"] if sys.dont_write_bytecode else []  # a bundle's code is checked file by file
    with tempfile.TemporaryDirectory(prefix="swin-deploy-trial-") as scratch:
        request = Path(scratch, "request.json")
        facts = {"search_path": sys.path, "folder": str(folder.resolve()), "images": str(images.resolve())}
        request.write_text(json.dumps(facts), encoding="utf-8")
        try:
            child = subprocess.run(
                [sys.executable, *unwritten, "-c", _START, str(request)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=time_limit_s,
                check=False,
            )
        except OSError as error:
            raise EnvironmentFault(f"the first run of the kernels could not be started: {error}") from error
        except subprocess.TimeoutExpired:
            raise EnvironmentFault(
                f"the first run of the kernels took more than {time_limit_s:g} s and was stopped",
                needed="kernels that end",
                do="This is a fault of the kernels on this GPU: use another engine of the bundle",
            ) from None
    if child.returncode == 0:
        return
    said = " ".join(child.stdout.decode("utf-8", errors="replace").strip().splitlines()[-3:])
    if child.returncode in _KINDS:
        raise _KINDS[child.returncode](said)
    status = child.returncode
    how = f"ended with status {status}" if status > 0 else f"died of {signal_name(-status)}"
    raise EnvironmentFault(f"the first run of the kernels {how}: {said or 'nothing was said'}")


def _child(request: str) -> int:
    """The child's whole work; the exit status."""
    facts = json.loads(Path(request).read_text(encoding="utf-8"))
    images = np.load(facts["images"], mmap_mode="r", allow_pickle=False)
    try:
        with open_program(Path(facts["folder"])) as session:
            for batch in session.batches:
                session.infer(np.ascontiguousarray(images[:batch]))
    except ExplainedError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_child(sys.argv[1]))
