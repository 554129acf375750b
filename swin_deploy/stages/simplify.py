"""Simplify: onnxsim in a child process with a time limit; onnxslim when it crashes, hangs or breaks the graph."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.errors import EnvironmentFault
from swin_deploy.stages.base import Produced
from swin_deploy.versions import installed

__all__ = ["Simplify"]


@dataclass(frozen=True)
class Simplify:
    """Fold constants and drop dead nodes.

    Attributes:
        seconds: Time limit of each tool.
        simplifiers: Tools in the order they are tried.
    """

    seconds: int = 600
    simplifiers: tuple[str, ...] = ("onnxsim", "onnxslim")
    name: str = "simplify"
    suffix: str = ".onnx"

    @property
    def accepts(self) -> frozenset[tuple[Format, Precision]]:
        """See `Stage.accepts`. FP32 only: onnxsim cannot fold BF16, so types come after it."""
        return frozenset({(Format.ONNX, Precision.FP32)})

    @property
    def produces(self) -> tuple[Format, Precision]:
        """See `Stage.produces`."""
        return Format.ONNX, Precision.FP32

    def tools(self) -> Mapping[str, str]:
        """See `Stage.tools`."""
        return installed("onnx", "onnxsim", "onnxslim")

    def unavailable(self) -> str | None:
        """See `Stage.unavailable`."""
        return None

    def run(self, parent: Artifact, out: Path) -> Produced:
        """See `Stage.run`.

        Raises:
            EnvironmentFault: every simplifier failed.
        """
        import onnx

        from swin_deploy.onnx_graph.census import graph_facts

        failures: list[str] = []
        for tool in self.simplifiers:
            failure = self._attempt(tool, parent.path, out)
            if failure is None:
                before, after = onnx.load(parent.path), onnx.load(out)
                facts = {**graph_facts(after), "tool": tool, "nodes_before": len(before.graph.node)}
                notes = tuple(f"{problem}; {tool} took its place" for problem in failures)
                return Produced(facts, notes)
            failures.append(failure)
            out.unlink(missing_ok=True)
        raise EnvironmentFault(
            "no simplifier succeeded: " + "; ".join(failures),
            needed="a simplified graph, since types are given to graphs without Constant and Cast nodes only",
        )

    def _attempt(self, tool: str, source: Path, out: Path) -> str | None:
        """Run one tool in a child process, since onnxsim is native code that has crashed on large graphs."""
        command = [sys.executable, "-m", "swin_deploy.onnx_graph.simplifier", tool, str(source), str(out)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=self.seconds, check=False)
        except subprocess.TimeoutExpired:
            return f"{tool} did not finish within {self.seconds} s"
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            return f"{tool} ended with status {done.returncode} ({lines[-1][:200]})"
        return None
