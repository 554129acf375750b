"""Compare INT8 post-training quantizations of one trained Swin: the same matmuls, images and judge for all.

    python -m benchmarks.int8_accuracy CHECKPOINT --calib-data DATA --eval-data DATA [--eval-images 2000]

Each row is calibrated in a child process of its own, which tells seconds and peak memory; each result is an ONNX file
with explicit Q/DQ, run literally by ONNX Runtime (no optimisation, FP32 beside the pairs) on the same test images, and
compared with the FP32 graph. Rows: this toolkit with plain ranges, with each tool alone, with tools added up to the
default, and with a searched plan (judged on the half of the images that it was not selected on); ONNX Runtime's static
quantization; NVIDIA Model Optimizer, in its own environment (benchmarks/modelopt-requirements.txt in .venv-modelopt;
the row says SKIPPED without).
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import click
import numpy as np

from benchmarks.peers.launch import PEERS, PeerFailed, PeerUnavailable, quantize_with
from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.checkpoint.load import load_checkpoint
from swin_deploy.device.distances import distance
from swin_deploy.parity.evaluation import EvaluationSet
from swin_deploy.parity.paired_drop import paired_drop
from swin_deploy.quantization.find_plan import Search
from swin_deploy.quantization.solve import Settings
from swin_deploy.recipe import Recipe
from swin_deploy.request import evaluation_set, quantization_data
from swin_deploy.stages.export import Export
from swin_deploy.stages.fold import Fold
from swin_deploy.stages.load import Load
from swin_deploy.stages.quantize import Quantize
from swin_deploy.stages.simplify import Simplify

OURS = {
    "ours, min-max": "ours:min-max",
    "ours, percentile": "ours:percentile",
    "ours, entropy": "ours:entropy",
    "ours, mse": "ours:mse",
    "ours, output": "ours:output",
    "ours, output + smoothquant": "ours:output+smoothquant",
    "ours, output + repq": "ours:output+repq",
    "ours, output + reconstruct": "ours:output+reconstruct",
    "ours, output + bias": "ours:output+bias",
    "ours, output + balance": "ours:output+balance",
    "ours, output + balance + bias": "ours:output+balance+bias",
    "ours, default": "ours:output+balance+reconstruct+bias",
}
SEARCH = "ours, search"


@click.command()
@click.argument("checkpoint")
@click.option("--calib-data", required=True)
@click.option("--calib-images", default=512, show_default=True)
@click.option("--eval-data", required=True)
@click.option("--eval-images", default=0, help="0: all.")
@click.option("--seeds", default=1, show_default=True, help="Calibration sets, chosen by so many seeds from 0 on.")
@click.option("--max-drop", default=0.3, show_default=True, help="Of the search.")
@click.option("--rows", default="", help="Only rows whose names hold one of these words, separated by commas.")
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Also write the figures there.")
def main(
    checkpoint: str,
    calib_data: str,
    calib_images: int,
    eval_data: str,
    eval_images: int,
    seeds: int,
    max_drop: float,
    rows: str,
    as_json: Path | None,
) -> None:
    """Print one table for one model."""
    wanted = [name for name in (*OURS, SEARCH, *PEERS) if not rows or any(word in name for word in rows.split(","))]
    recipe = Recipe(
        checkpoint,
        int8=True,
        calib_data=calib_data,
        calib_images=calib_images,
        eval_data=eval_data,
        eval_images=eval_images,
    )
    understood = load_checkpoint(Path(checkpoint))
    images = evaluation_set(recipe, understood)
    figures: dict[str, list[dict[str, Any]]] = {name: [] for name in wanted}
    with tempfile.TemporaryDirectory(prefix="int8-") as folder:
        graph = _float_graph(Path(checkpoint), Path(folder))
        reference = _outputs(graph, images, Precision.FP32)
        for seed in range(seeds):
            data, _ = quantization_data(replace(recipe, seed=seed), understood, images)
            assert data is not None and data.calibration is not None
            calibration = Path(folder) / "calibration.npy"
            np.save(calibration, data.calibration.preprocess.batch(data.calibration.images))
            for name in wanted:
                out = Path(folder) / "row.onnx"
                try:
                    if name == SEARCH:
                        asked = replace(recipe, seed=seed, search=True, max_drop=max_drop)
                        cost = _searched(asked, understood, images, graph, out)
                    else:
                        peer = OURS.get(name, name)
                        result = quantize_with(peer, graph, calibration, _matmuls(graph), out)
                        cost = {key: getattr(result, key) for key in ("seconds", "cpu_seconds", "peak_mib")}
                except PeerUnavailable as error:
                    figures[name].append({"skipped": str(error)})
                except PeerFailed as error:
                    figures[name].append({"failed": str(error)})
                else:
                    # A searched plan is judged on the half that it was not selected on.
                    found = {} if name == SEARCH else _judged(out, images, reference)
                    figures[name].append({**found, **cost, "seed": seed})
                print(f"seed {seed}: {name}: {figures[name][-1]}", file=sys.stderr, flush=True)
    if as_json:
        as_json.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    print(_table(figures, len(images), calib_images, seeds))


def _float_graph(checkpoint: Path, folder: Path) -> Path:
    """The FP32 graph that a build makes."""
    source = Artifact("checkpoint", checkpoint, Format.SOURCE, Precision.FP32)
    for name, stage in (("reference", Load()), ("deployment", Fold()), ("exported", Export(32)), ("fp32", Simplify())):
        path = folder / f"{name}{stage.suffix}"
        stage.run(source, path)
        source = Artifact(name, path, *stage.produces, source.name)
    return source.path


def _matmuls(graph: Path) -> list[str]:
    import onnx

    from swin_deploy.onnx_graph.linears import quantizable

    model = onnx.load(graph)
    return [model.graph.node[linear.node].name for linear in quantizable(model)]


def _searched(recipe: Recipe, understood: Any, images: EvaluationSet, graph: Path, out: Path) -> dict[str, Any]:
    """The stage itself, with a search on one half of the images."""
    data, report = quantization_data(recipe, understood, images)
    assert data is not None and data.selection is not None and report is not None
    with tempfile.TemporaryDirectory(prefix="search-") as folder:
        file = Path(folder) / "searched.onnx"
        stage = Quantize(
            data.calibration,
            Settings(seed=recipe.seed),
            search=Search(data.selection, recipe.max_drop),
            preprocess=data.preprocess,
        )
        produced = stage.run(Artifact("fp32", graph, Format.ONNX, Precision.FP32), file)
        out.write_bytes(file.read_bytes())
    half = _judged(out, report, _outputs(graph, report, Precision.FP32))
    return {
        "macs_share": produced.facts["macs_share"],
        "plans": produced.facts["search"]["measured"],
        **half,
        "why": produced.facts["search"]["reason"],
        "left_in_float": produced.facts["left_in_float"],
    }


def _outputs(graph: Path, images: EvaluationSet, precision: Precision) -> np.ndarray:
    backend = OnnxRuntime(literal=precision.quantized)
    with backend.open(Artifact("graph", graph, Format.ONNX, precision)) as session:
        pieces = [next(iter(session.infer(batch).values())) for batch in images.batches(50)]
    return np.concatenate(pieces)


def _judged(graph: Path, images: EvaluationSet, reference: np.ndarray) -> dict[str, Any]:
    found = _outputs(graph, images, Precision.INT8)
    apart = distance(found, reference)
    assert images.labels is not None, "labelled images"
    drop = paired_drop(found, reference, images.labels)
    return {
        "sqnr_db": apart.sqnr_db,
        "agreement": apart.agreement,
        "top1": drop.top1,
        "drop": drop.drop,
        "upper": drop.upper,
        "mcnemar_p": drop.mcnemar_p,
    }


def _table(figures: dict[str, list[dict[str, Any]]], images: int, calibration: int, seeds: int) -> str:
    lines = [
        f"{calibration} calibration images, {images} test images, {seeds} seed(s); literal Q/DQ against FP32",
        "",
        "| row | SQNR dB | agreement % | top-1 % | drop (largest 95 % bound) | seconds | CPU s | peak MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in figures.items():
        problem = next(
            (entry[key].splitlines()[0] for entry in found for key in ("skipped", "failed") if key in entry), ""
        )
        if problem:
            word = "SKIPPED" if "skipped" in found[0] else "FAILED"
            lines.append(f"| {name} | {word}: {problem} | | | | | | |")
            continue

        def all_of(key: str, found: Sequence[dict[str, Any]] = found) -> list[float]:
            return [float(entry[key]) for entry in found if key in entry]

        spread = f" ± {stdev(all_of('sqnr_db')):.2f}" if len(found) > 1 else ""
        cells = [
            name,
            f"{mean(all_of('sqnr_db')):.2f}{spread}",
            f"{100 * mean(all_of('agreement')):.2f}",
            f"{mean(all_of('top1')):.2f}",
            f"{mean(all_of('drop')):+.3f} (< {max(all_of('upper')):+.3f})",
            *(
                f"{mean(all_of(key)):.{digits}f}" if all_of(key) else "-"
                for key, digits in (("seconds", 1), ("cpu_seconds", 1), ("peak_mib", 0))
            ),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
