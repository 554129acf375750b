"""What the kernels take of each architecture, read from cubins that are compiled here, without a GPU.

    python -m benchmarks.kernel_resources [--model swin_t] [--architecture 8.7] [--precision fp16] [--out FILE.md]

Every kernel that a published network launches, with its default tiles: registers of a thread, bytes that did not fit
and spill to memory, shared memory of a block. `--out` gets the most of each operator. Ends with status 4 where a kernel
spills more than 8 bytes, does not compile, or takes more shared memory than there is. It says nothing of speed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import torch

from swin_deploy.checkpoint.spec import Family, StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Classifier
from swin_deploy.kernels.ahead_of_time import ARCHITECTURES, Compiled, KernelSource, compile_kernels, sm
from swin_deploy.kernels.launched import LaunchedOperators
from swin_deploy.kernels.recorded_run import RecordedRun, record
from swin_deploy.model.forms import build_deployment
from swin_deploy.model.fused import fuse
from swin_deploy.model.fusion_plan import FusionPlan, Linears

__all__ = ["MODELS", "Published", "launched_kernels", "spills", "summary", "table"]

_HEADING = """# What the kernels take of each architecture

Read from the cubins by NVIDIA's cuobjdump; no GPU was used, and nothing here says how fast a kernel is. For each
operator the most that any of its kernels takes, with the default tiles, at batch {batches}: registers of a thread, of
255, and KiB of shared memory of a block; bytes that spill from registers to memory would stand behind a `+`. Made by

```sh
python -m benchmarks.kernel_resources{options} --out docs/kernel_resources.md
```

which prints a line a kernel, and ends with status 4 where a default spills more than 8 bytes, does not compile, or
takes more shared memory than a block may have (99 KiB on 8.6, 8.9 and 12.0).

"""
# Bytes of a thread, two registers, that ptxas may put aside far below its limit: seen of 40 registers, on 12.0.
_TOLERATED = 8
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Published:
    """A network of the papers; its depth is of no account here, since deeper blocks launch the same kernels.

    Attributes:
        v2: Whether it is a V2.
        dim: Channels of the first stage.
        heads: Of the first stage.
        window: Side of a window.
        image: Side of an image.
    """

    v2: bool
    dim: int
    heads: int
    window: int
    image: int

    def spec(self) -> SwinSpec:
        """With two blocks a stage: a plain one and a shifted one."""
        stages = []
        for stage in range(4):
            dim, side = self.dim << stage, self.image // 4 >> stage
            window = (min(self.window, side),) * 2
            stages.append(StageSpec(2, dim, self.heads << stage, window, 4 * dim, window if self.v2 else None))
        family: Family = "v2" if self.v2 else "v1"
        return SwinSpec(family, (self.image, self.image), 4, 3, tuple(stages), Classifier(1000))


MODELS: Mapping[str, Published] = {
    "swin_t": Published(False, 96, 3, 7, 224),
    "swin_b": Published(False, 128, 4, 7, 224),
    "swin_b_384": Published(False, 128, 4, 12, 384),
    "swinv2_t": Published(True, 96, 3, 8, 256),
    "swinv2_t_w16": Published(True, 96, 3, 16, 256),
}


def launched_kernels(
    model: Published, batches: tuple[int, ...], dtype: torch.dtype, linears: Linears = "half"
) -> dict[str, KernelSource]:
    """What `model` launches at these batches, by id, in the order of its layers."""
    run = RecordedRun()
    network = fuse(build_deployment(model.spec()), FusionPlan(linears=linears), dtype, LaunchedOperators(run))
    found: dict[str, KernelSource] = {}
    for batch in batches:
        for launch in record(network, run, (batch, 3, model.image, model.image)).launches:
            source = KernelSource.of(launch)
            found.setdefault(source.id, source)
    return found


def table(kernels: Mapping[str, KernelSource], compiled: Compiled, architectures: tuple[str, ...]) -> Iterator[str]:
    """Lines of Markdown, a row a kernel."""
    yield from _head("kernel | sizes | tiles", architectures)
    for name, source in kernels.items():
        cells = [_most([name], compiled, architecture) for architecture in architectures]
        yield f"| {source.kernel} | {_sizes(source)} | {_tiles(source)} | {' | '.join(cells)} |"


def summary(kernels: Mapping[str, KernelSource], compiled: Compiled, architectures: tuple[str, ...]) -> Iterator[str]:
    """Lines of Markdown, a row an operator."""
    yield from _head("operator | kernels", architectures)
    groups: dict[str, list[str]] = {}
    for name, source in kernels.items():
        groups.setdefault(source.kernel, []).append(name)
    for kernel, names in groups.items():
        cells = [_most(names, compiled, architecture) for architecture in architectures]
        yield f"| {kernel} | {len(names)} | {' | '.join(cells)} |"


def _head(columns: str, architectures: tuple[str, ...]) -> Iterator[str]:
    yield f"| {columns} | " + " | ".join(f"sm_{sm(name)}" for name in architectures) + " |"
    yield "|---" * (columns.count("|") + 1 + len(architectures)) + "|"


def _most(names: list[str], compiled: Compiled, architecture: str) -> str:
    """The most registers, spilled bytes and shared memory of some kernels."""
    cubins = [compiled.cubins[name, architecture] for name in names if (name, architecture) in compiled.cubins]
    if len(cubins) < len(names):
        return "no"
    registers, stack = (max(getattr(cubin, part) for cubin in cubins) for part in ("registers", "stack"))
    spilled = f" + {stack} B" if stack else ""
    return f"{registers}{spilled}, {max(cubin.shared for cubin in cubins) / 1024:.0f} KiB"


def spills(kernels: Mapping[str, KernelSource], compiled: Compiled) -> Iterator[str]:
    """What must not be: a line for each kernel that spills more than `_TOLERATED`, or does not compile, somewhere."""
    for (name, architecture), cubin in compiled.cubins.items():
        if cubin.stack > _TOLERATED:
            yield f"{_described(kernels[name])} spills {cubin.stack} bytes a thread for {architecture}"
    for (name, architecture), why in compiled.refused.items():
        yield f"{_described(kernels[name])} does not compile for {architecture}: {why}"


def _described(source: KernelSource) -> str:
    return f"{source.kernel} ({_sizes(source)}; {_tiles(source)})"


def _sizes(source: KernelSource) -> str:
    shown = {key: value for key, value in source.constants.items() if not key.startswith("BLOCK") and key != "EPS"}
    present = [f"{key.lower()}" for key, value in shown.items() if value is True]
    numbers = [f"{key.lower()} {value}" for key, value in shown.items() if not isinstance(value, bool)]
    optional = [name for name in ("column", "residual", "mask", "norm_weight") if name in source.types]
    return ", ".join(numbers + present + optional)


def _tiles(source: KernelSource) -> str:
    sides = [str(value) for key, value in source.constants.items() if key.startswith("BLOCK")]
    return "x".join(sides) + f", {source.warps} warps, {source.stages} stages"


@click.command()
@click.option("--model", "models", multiple=True, type=click.Choice(list(MODELS)), help="Without: all.")
@click.option("--architecture", "architectures", multiple=True, type=click.Choice(list(ARCHITECTURES)))
@click.option("--precision", default="fp16", type=click.Choice(list(DTYPES)), show_default=True)
@click.option("--linears", default="half", type=click.Choice(["half", "int8", "fp8"]), show_default=True)
@click.option("--batch", "batches", multiple=True, type=int, default=(1, 32, 128), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="A Markdown file.")
def main(
    models: tuple[str, ...],
    architectures: tuple[str, ...],
    precision: str,
    linears: Linears,
    batches: tuple[int, ...],
    out: Path | None,
) -> None:
    """See the module."""
    architectures = architectures or tuple(ARCHITECTURES)
    lines: list[str] = []
    wrong: list[str] = []
    for name in models or tuple(MODELS):
        kernels = launched_kernels(MODELS[name], batches, DTYPES[precision], linears)
        compiled = compile_kernels(kernels.values(), architectures)
        title = f"## {name}, {precision}" + ("" if linears == "half" else f", linears {linears}")
        click.echo("\n".join((title, "", *table(kernels, compiled, architectures), "")))
        lines += [title, "", *summary(kernels, compiled, architectures), ""]
        wrong += [f"{name}: {line}" for line in spills(kernels, compiled)]
    if out is not None:
        heading = _HEADING.format(
            options="".join(f" --model {name}" for name in models), batches=", ".join(str(batch) for batch in batches)
        )
        out.write_text(heading + "\n".join(lines), encoding="utf-8")
    for line in wrong:
        click.echo(line, err=True)
    sys.exit(4 if wrong else 0)


if __name__ == "__main__":
    main()
