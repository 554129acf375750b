"""Measured times, from the run's own benchmark and from devices that finished its bundle, and the command for more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from swin_deploy.manifest import Manifest
from swin_deploy.report.finish_file import Finish
from swin_deploy.report.latency_line import LatencyLine, line_of

__all__ = ["latency_lines", "timing_command"]


def latency_lines(manifest: Manifest, finishes: Sequence[Finish] = ()) -> tuple[LatencyLine, ...]:
    """Everything that was timed: the run's own lines, then each device's."""
    found: list[LatencyLine] = []
    if manifest.speed is not None:
        machine = manifest.speed["machine"]
        gpu = str(machine["gpu"])
        # Without a driver the entry says why; then the processor did the work.
        device = str(machine.get("processor", "an unnamed processor")) if "no " in gpu.lower() else gpu
        found += [line_of(device, raw) for raw in manifest.speed["lines"]]
    for finish in finishes:
        if not finish.engine_built:
            continue  # times of graphs on a CPU say nothing of the engines whose names they bear
        found += [line for engine in finish.engines for line in engine.latency]
    return tuple(found)


def timing_command(manifest: Manifest) -> str:
    """What adds times to this run: on its own machine, each deployable file beside the others."""
    files = tuple(_timeable(manifest))
    return "swin-deploy bench --record " + " ".join(f"RUN/{file}" for file in files) if files else ""


def _timeable(manifest: Manifest) -> Iterator[str]:
    """The engines; where there are none, the graphs that stand for them."""
    made = [step for step in manifest.steps if step.file and not step.file.endswith(".rejected")]
    engines = [str(step.file) for step in made if step.format.endswith("-plan")]
    yield from engines or [str(step.file) for step in made if step.artifact in ("fp32", "fp16", "bf16", "int8", "fp8")]
