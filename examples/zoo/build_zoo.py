"""Take every usual Swin through `swin-deploy build`: typed ONNX and TensorRT for RTX plans, parity judged.

    python examples/zoo/build_zoo.py --out zoo-run [--only swin_l --only swin_t] [--table zoo-run/table.md]

The architectures are the published ones at their native sizes. The weights are random, but such that nothing cancels by
chance (no zero biases, no unit norms, no equal bias tables), since nobody can ship all the trained ones: accuracy means
nothing here and is not judged, distances to the FP32 original are. The table gives what each build took: seconds, peak
memory of the whole process tree, MiB of constants, kernels of the engine and how many of its attentions are fused.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from swin_deploy.checkpoint.dialect import Layout
from swin_deploy.checkpoint.hints import ArchitectureHints
from swin_deploy.checkpoint.keys import KeyTable
from swin_deploy.checkpoint.load import DIALECTS
from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Backbone, Classifier, Restoration
from swin_deploy.model.forms import build_reference

__all__ = ["ZOO", "Entry", "checkpoint_of", "random_weights"]

Size = tuple[int, int]


@dataclass(frozen=True)
class Entry:
    """One model of the zoo.

    Attributes:
        spec: Its architecture.
        dialect: The layout that its checkpoint is written in.
        window: Configured window in tokens, which stands beside the checkpoint.
        batch: Optimization profile.
        images: Synthetic images to judge on.
        seed: Of the weights.
        precision: `--fp16`, or nothing for FP32.
        options: Further options of `build`.
        signs: Keys by which the dialect tells its variants apart, where the canonical names do not.
    """

    spec: SwinSpec
    dialect: str
    window: int
    batch: str = "1,2,4"
    images: int = 8
    seed: int = 0
    precision: tuple[str, ...] = ("--fp16",)
    options: tuple[str, ...] = ()
    signs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def _classifier(
    family: Any, dim: int, depths: tuple[int, ...], heads: tuple[int, ...], size: int, window: int
) -> Entry:
    return Entry(_spec(family, dim, depths, heads, (size, size), window, Classifier(1000), "timm"), "timm", window)


def _spec(
    family: Any,
    dim: int,
    depths: tuple[int, ...],
    heads: tuple[int, ...],
    size: Size,
    window: int,
    task: Any,
    rule: str,
    attention: str = "window",
) -> SwinSpec:
    stages = []
    for index, (depth, number) in enumerate(zip(depths, heads, strict=True)):
        channels = dim * 2**index
        side = min(window, size[0] // (4 * 2**index)) if rule == "timm" else window
        trained = (side, side) if family == "v2" else None
        stages.append(StageSpec(depth, channels, number, (window, window), 4 * channels, trained))
    return SwinSpec(family, size, 4, 3, tuple(stages), task, rule=rule, attention=attention)


def _light_x2() -> Entry:
    stages = tuple(StageSpec(6, 60, 6, (8, 8), 120) for _ in range(4))
    task = Restoration(scale=2, upsampler="pixelshuffledirect", mean=(0.4488, 0.4371, 0.4040))
    spec = SwinSpec("v1", (64, 64), 1, 3, stages, task, rule="restoration")
    return Entry(spec, "swinir", 8, signs={"upsample.0.weight": (12, 60, 3, 3)})


_TINY = (96, (2, 2, 6, 2), (3, 6, 12, 24))
_VARIANTS = ("channel-gate", "linformer", "performer", "routing")

ZOO: Mapping[str, Entry] = {
    "swin_t": _classifier("v1", *_TINY, 224, 7),
    "swin_s": _classifier("v1", 96, (2, 2, 18, 2), (3, 6, 12, 24), 224, 7),
    "swin_b": _classifier("v1", 128, (2, 2, 18, 2), (4, 8, 16, 32), 224, 7),
    "swin_l": _classifier("v1", 192, (2, 2, 18, 2), (6, 12, 24, 48), 224, 7),
    "swinv2_t": _classifier("v2", *_TINY, 256, 8),
    "swinv2_s": _classifier("v2", 96, (2, 2, 18, 2), (3, 6, 12, 24), 256, 8),
    # With seed 0 the two largest of its 1,000 random logits are nearly equal, which FP16 cannot tell apart.
    "swinv2_b": replace(_classifier("v2", 128, (2, 2, 18, 2), (4, 8, 16, 32), 256, 8), seed=1),
    "segmentation_t_512": Entry(
        _spec("v1", *_TINY, (512, 512), 7, Backbone((0, 1, 2, 3), True), "microsoft-dense"),
        "microsoft",
        7,
        batch="1,1,2",
        images=2,
    ),
    "swinir_light_x2": _light_x2(),
    **{
        f"swin_t_{name.replace('-', '_')}": Entry(
            _spec("v1", *_TINY, (224, 224), 7, Classifier(1000), "timm", name),
            "timm",
            7,
            # Routing is a step function: FP16 sends tokens to other clusters now and then, and fails its gate rightly.
            precision=() if name == "routing" else ("--fp16",),
            options=("--attention", name),
        )
        for name in _VARIANTS
    },
}


def random_weights(spec: SwinSpec, seed: int = 0) -> dict[str, Tensor]:
    """Canonical weights on which nothing cancels by chance, with activations of about unit size at any depth."""
    generator = torch.Generator().manual_seed(seed)
    model = build_reference(spec)
    state = {name: _random(name, tensor, generator) for name, tensor in model.state_dict().items()}
    if spec.family == "v2":
        for name in state:
            if name.endswith("attn.qkv.bias"):
                state[name].chunk(3)[1].zero_()  # the key has none
    return state


def _random(name: str, tensor: Tensor, generator: torch.Generator) -> Tensor:
    if not tensor.is_floating_point() or (".attn." in name and not _PLAIN.search(name)):
        return tensor  # fixed features, centroids and the like, as the variant makes them
    uniform = torch.rand(tensor.shape, generator=generator)
    normal = torch.randn(tensor.shape, generator=generator)
    if re.search(r"norm\w*(\.\d)?\.weight$", name):
        return 0.7 + 0.6 * uniform
    if name.endswith("relative_position_bias_table"):
        return normal
    if name.endswith("logit_scale"):
        return math.log(10) + 0.3 * normal  # where training starts and mostly stays
    if name.endswith("cpb_mlp.0.weight"):
        return normal
    if tensor.ndim < 2:
        return 0.1 * normal
    return normal * 0.25 / math.sqrt(tensor[0].numel())  # by the number of inputs


_PLAIN = re.compile(r"attn\.(qkv|proj|relative_position_bias_table|logit_scale|cpb_mlp)")


def checkpoint_of(entry: Entry) -> dict[str, Tensor]:
    """The weights as the entry's code base would save them."""
    weights = random_weights(entry.spec, entry.seed)
    layout = _layout(entry, weights)
    saved: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        sources = layout.sources(name)
        pieces = tensor.chunk(len(sources)) if len(sources) > 1 else (tensor,)
        for key, piece in zip(sources, pieces, strict=True):
            if key is not None:
                saved[key] = piece.contiguous()
    return saved


def _layout(entry: Entry, weights: Mapping[str, Tensor]) -> Layout:
    """The layout of a checkpoint that is about to be written; its keys tell the dialect no more than the family."""
    dialect = next(dialect for dialect in DIALECTS if dialect.name == entry.dialect)
    keys = {re.sub(r"^stages\.", "layers.", name): tuple(tensor.shape) for name, tensor in weights.items()}
    return dialect.layout(KeyTable(entry.dialect, entry.signs or keys), ArchitectureHints())


def main() -> int:
    """Build what was asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("zoo-run"))
    parser.add_argument("--only", action="append", choices=sorted(ZOO), help="Build this one; may be repeated.")
    parser.add_argument("--target", default="rtx")
    parser.add_argument(
        "--compile", action="store_true", help="With torch.compile and AOTInductor, as build by default."
    )
    parser.add_argument("--resume", action="store_true", help="Skip the models whose build is finished.")
    arguments = parser.parse_args()
    rows, failed = [], False
    for name in arguments.only or ZOO:
        folder = arguments.out / name
        figures = folder / "figures.json"
        if not (arguments.resume and figures.is_file()):
            _build(name, ZOO[name], arguments.out, arguments.target, with_compile=arguments.compile)
        rows.append(_row(name, folder))
        failed |= json.loads(figures.read_text())["status"] != 0
        table = "\n".join([*_HEADER, *rows])
        (arguments.out / "table.md").write_text(table + "\n", encoding="utf-8")
    print(table)
    return 4 if failed else 0


def _build(name: str, entry: Entry, out: Path, target: str, *, with_compile: bool) -> None:
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / f"{name}.safetensors"
    save_file(checkpoint_of(entry), checkpoint)
    size = list(entry.spec.image_size)
    beside: dict[str, Any] = {"arguments": {"img_size": size, "window_size": entry.window}}
    if isinstance(entry.spec.task, Restoration):
        beside["arguments"]["img_range"] = entry.spec.task.image_range
    if entry.spec.attention != "window":
        beside["arguments"]["num_heads"] = [stage.heads for stage in entry.spec.stages]
    checkpoint.with_suffix(".json").write_text(json.dumps(beside), encoding="utf-8")
    command = [sys.executable, "-m", "swin_deploy", "build", str(checkpoint), *entry.precision, "--target", target]
    command += ["--batch", entry.batch, "--eval-images", str(entry.images), "--out", str(out / name), *entry.options]
    command += [] if with_compile else ["--no-compile"]
    print(" ".join(["swin-deploy", *command[3:]]), flush=True)
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--quiet"])
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(process, peak))
    watcher.start()
    status = process.wait()
    watcher.join()
    figures = {"status": status, "seconds": time.perf_counter() - started, "peak_mib": peak[0] / 2**20}
    (out / name).mkdir(exist_ok=True)
    (out / name / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
    checkpoint.unlink()


def _watch(process: subprocess.Popen[bytes], peak: list[int]) -> None:
    """Keep the largest memory of the process and all its descendants together, shared pages counted once (PSS)."""
    while process.poll() is None:
        peak[0] = max(peak[0], sum(_pss(pid) for pid in _tree(process.pid)))
        time.sleep(0.5)


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue  # it has ended
        for child in children:
            yield from _tree(int(child))


def _pss(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0  # it has ended
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


_HEADER = (
    "| model | parameters | constants MiB | FP32 dB | FP16 half dB | FP16 graph dB | kernels | attentions fused | "
    "onnx MiB | plan MiB | build s | peak GiB | status |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
)


def _row(name: str, folder: Path) -> str:
    figures = json.loads((folder / "figures.json").read_text())
    path = folder / "manifest.json"
    steps = {step["artifact"]: step for step in json.loads(path.read_text())["steps"]} if path.is_file() else {}

    def decibels(artifact: str, label: str) -> str:
        for row in steps.get(artifact, {}).get("rows", ()):
            if row["label"] == label and row["measurement"]:
                return f"{min(entry['sqnr_db'] for entry in row['measurement']['oracle'].values()):.1f}"
        return "-"

    def fact(artifact: str, key: str, default: Any = "-") -> Any:
        return steps.get(artifact, {}).get("facts", {}).get(key, default)

    def mib(artifact: str) -> str:
        size = steps.get(artifact, {}).get("bytes", 0)
        return f"{size / 2**20:.1f}" if size else "-"

    engine = "fp16-engine" if "fp16-engine" in steps else "fp32-engine"
    kernels: dict[str, Any] = next(iter(fact(engine, "kernels", {}).values()), {})
    parameters = fact("reference", "parameters", 0)
    cells = (
        name,
        f"{parameters / 1e6:.1f} M",
        fact("deployment", "constants_mib"),
        decibels("exported", "graph"),
        decibels("deployment-fp16", "numerics"),
        decibels("fp16", "graph"),
        kernels.get("kernels", "-"),
        kernels.get("fused_attentions", "-"),
        mib(engine.removesuffix("-engine")),
        mib(engine),
        f"{figures['seconds']:.0f}",
        f"{figures['peak_mib'] / 1024:.1f}",
        figures["status"],
    )
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    sys.exit(main())
