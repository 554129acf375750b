"""Prove and run a bundle's kernel programs: nothing is built, and the driver is all they need."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import swin_deploy
from swin_deploy.atomic import disk_faults, write_text
from swin_deploy.device import cuda_memory
from swin_deploy.device.bundle_file import Bundle, BundleProgram
from swin_deploy.device.closeness import Closeness, Verdict
from swin_deploy.device.finish_tool import Made
from swin_deploy.device.kernel_program import PROGRAM_FILE, read_program
from swin_deploy.device.kernel_session import KernelSession, open_program, why_not
from swin_deploy.device.kernel_trial import try_program
from swin_deploy.errors import BadInput

__all__ = ["KernelTool"]


@dataclass(frozen=True)
class KernelTool:
    """See `FinishTool`.

    A program has no file of its own in `finished`; what says that one passed, on which GPU, is `<name>.proven.json`.

    Attributes:
        bundle: What is finished.
        folder: The unpacked bundle.
        out: Where that note is written.
    """

    bundle: Bundle
    folder: Path
    out: Path

    @property
    def backend(self) -> str:
        """See `FinishTool.backend`."""
        return "kernels"

    @property
    def facts(self) -> Mapping[str, str]:
        """See `FinishTool.facts`."""
        return {"package": "kernels", "version": swin_deploy.__version__}

    def engines(self) -> tuple[BundleProgram, ...]:
        """See `FinishTool.engines`."""
        if not self.bundle.programs:
            raise BadInput(
                "the bundle holds no kernel program",
                needed="one for this GPU",
                do="Pack it with swin-deploy bundle --kernels",
            )
        return self.bundle.programs

    def gate(self, engine: BundleProgram) -> Closeness:
        """See `FinishTool.gate`."""
        return engine.gate

    def not_executable(self, engine: BundleProgram) -> str | None:
        """See `FinishTool.not_executable`."""
        return why_not(read_program(self.folder / engine.folder))

    def make(self, engine: BundleProgram) -> Made:
        """Try the program where it can be executed: a fault must not take this process's GPU with it."""
        with disk_faults(self._note(engine)):
            self._note(engine).unlink(missing_ok=True)
        made = Made(self.folder / engine.folder / PROGRAM_FILE)
        if self.not_executable(engine) is None:
            try_program(made.path.parent, self.folder / self.bundle.images)
        return made

    def open(self, made: Made, engine: BundleProgram) -> KernelSession:
        """See `FinishTool.open`."""
        return open_program(self.folder / engine.folder)

    def name(self, made: Made, engine: BundleProgram, verdict: Verdict) -> Path | None:
        """Write the note of what passed; the bundle's own files stay as they are."""
        if verdict in (Verdict.FAIL, Verdict.SKIPPED):
            return None
        write_text(self._note(engine), json.dumps(self._proof(engine), indent=1) + "\n")
        return self._note(engine)

    def finished(self, engine: BundleProgram) -> Made:
        """See `FinishTool.finished`."""
        note = self._note(engine)
        try:
            fits = json.loads(note.read_text(encoding="utf-8")) == self._proof(engine)
        except (OSError, ValueError):
            fits = False
        if not fits:
            raise BadInput(
                f"{engine.name} was not proven on this GPU",
                needed="a kernel program that passed",
                do="Run runner.py finish first",
            )
        return Made(note)

    def _proof(self, engine: BundleProgram) -> Mapping[str, str]:
        return {
            "program_sha256": self.bundle.files[f"{engine.folder}/{PROGRAM_FILE}"].sha256,
            "gpu": cuda_memory.gpu_model(),
        }

    def _note(self, engine: BundleProgram) -> Path:
        return self.out / f"{engine.name}.proven.json"
