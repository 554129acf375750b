"""Which operations a contestant's roofline is made of, and which ceilings it is held against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from swin_deploy.artifact import Format
from swin_deploy.benchmark.ceilings import measured_ceilings
from swin_deploy.benchmark.contestant import Contestant
from swin_deploy.benchmark.devices import board_model, published
from swin_deploy.benchmark.operations import Operation, operations
from swin_deploy.benchmark.roofline import Ceilings
from swin_deploy.device import cuda_memory
from swin_deploy.manifest import Manifest
from swin_deploy.versions import machine

__all__ = ["Workload", "ceilings_of"]


@dataclass(frozen=True)
class Workload:
    """The work that every contestant of a run has to do.

    It is counted in the run's own FP32 graph, for a quantized contestant in its Q/DQ graph, whoever runs it and in
    whatever form: so an engine, PyTorch and a naive export of the same weights have one floor.

    Attributes:
        folder: The run's folder.
        manifest: Its manifest.
    """

    folder: Path
    manifest: Manifest
    _found: dict[tuple[Path, int, str], tuple[Operation, ...]] = field(default_factory=dict, compare=False, repr=False)

    def operations(self, contestant: Contestant, batch: int) -> tuple[Operation, ...]:
        """Its operations at a batch size; none where the run has no ONNX graph to count in."""
        graph = self._graph(contestant.precision)
        if graph is None:
            return ()
        key = graph, batch, contestant.floats
        if key not in self._found:
            import onnx

            self._found[key] = operations(onnx.load(graph), batch, contestant.floats)
        return self._found[key]

    def precisions(self, contestant: Contestant) -> frozenset[str]:
        """What it multiplies in."""
        return frozenset(operation.precision for operation in self.operations(contestant, 1))

    def _graph(self, precision: str) -> Path | None:
        wanted = (f"{precision}-qdq", precision) if precision in ("int8", "fp8") else ("fp32", "exported")
        for name in wanted:
            record = self.manifest.step(name)
            if record is not None and record.file and record.format == Format.ONNX.value:
                path = self.folder / record.file
                if path.is_file():
                    return path
        return None


def ceilings_of(needs: Iterable[tuple[str, Iterable[str]]], threads: int) -> dict[str, Ceilings]:
    """The ceilings of each device that something runs on.

    Measured where PyTorch reaches the device; a GPU that it does not reach has its published ones, if any.

    Args:
        needs: Device (`cpu` or `cuda`) and the precisions that are needed there.
        threads: CPU threads.
    """
    import torch

    wanted: dict[str, set[str]] = {}
    for device, precisions in needs:
        wanted.setdefault(device, set()).update(precisions)
    known = machine()
    found: dict[str, Ceilings] = {}
    for device, asked in wanted.items():
        if not asked:
            continue
        if device == "cpu" or torch.cuda.is_available():
            name = f"{known['processor']}, {threads} threads" if device == "cpu" else known["gpu"]
            found[device] = measured_ceilings(device, name, asked, threads)
        elif cuda_memory.unavailable() is None:
            table = published(cuda_memory.device_name(), board_model())
            found |= {} if table is None else {device: table}
    return found
