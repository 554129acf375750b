"""A run that never was, with every kind of row, and the report of it.

The report beside this file is made anew by: python -m tests.report.example_run
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from swin_deploy.checkpoint.task import Backbone, Classifier, Restoration, Task, task_to_json
from swin_deploy.device.distances import EXACT_DB, Distance
from swin_deploy.manifest import Manifest, Row, StepRecord
from swin_deploy.parity.gates import Verdict
from swin_deploy.parity.measure import Measurement
from swin_deploy.parity.paired_drop import PairedDrop
from swin_deploy.parity.psnr_drop import PsnrDrop
from swin_deploy.quantization.calibration_fit import LinearFit
from swin_deploy.quantization.measure import QuantizationMeasure
from swin_deploy.report.markdown import markdown_report

GOLDEN = Path(__file__).with_name("example_run.md")
BATCHES = (1, 8, 32)


def measurement(
    decibels: float, agreement: float, *, images: int = 2000, drop: float | None = 0.1, parent: float | None = None
) -> dict[str, Any]:
    """As `Measurement.to_json` gives it; the ratio is the lowest at batch 32."""
    counts = {1: 16, 8: images, 32: 32}
    exact = decibels == EXACT_DB
    distances = {
        size: Distance(counts[size], True, decibels + (0 if exact else (32 - size) / 32), 0.0125, agreement)
        for size in BATCHES
    }
    task = None
    if drop is not None:
        task = PairedDrop(images, 91.5, 91.5 - drop, 12, 10, drop, drop - 0.4, drop + 0.4)
    above = None if parent is None else Distance(images, True, parent, 0.0 if parent == EXACT_DB else 0.00125, 1.0)
    return Measurement(distances, above, task).to_json()


def judgement(check: str, verdict: Verdict, detail: str) -> dict[str, Any]:
    """As `Judgement.to_json` gives it."""
    return {"check": check, "verdict": verdict.value, "detail": detail}


def step(artifact: str, stage: str, parent: str, *rows: Row, **changes: Any) -> StepRecord:
    """A stage that ran, unless `changes` say otherwise."""
    made = StepRecord(
        artifact=artifact,
        stage=stage,
        parent=parent,
        config={"name": stage},
        tools={"swin-deploy": "0.0.0"},
        key=f"key of {artifact}",
        file=f"{artifact}.onnx",
        format="onnx",
        precision="fp32",
        sha256="0" * 64,
        bytes=3 << 20,
        seconds=1.25,
        rows=rows,
    )
    return replace(made, **changes)


def fit(module: str, loss_db: float, weight_loss_db: float | None = -1.5) -> LinearFit:
    """A linear of block `blocks.N` by its module's name."""
    block = module.rpartition(".mlp")[0]
    return LinearFit(module, block, 0.02, 0.015, 41.25, loss_db, 0.0005, 38.5, weight_loss_db, 0.0, 0.008)


MEASURED = QuantizationMeasure(
    grid="int8",
    images=64,
    representative=True,
    blocks={"blocks.0": 48.0, "blocks.1": 45.5, "blocks.2": 36.0},
    linears=(
        fit("blocks.0.mlp.0", 0.125, None),
        fit("blocks.0.mlp.2", 0.75, None),
        fit("blocks.1.mlp.0", 0.0),
        fit("blocks.1.mlp.2", 1.5),
        fit("blocks.2.mlp.0", 6.25),
        fit("blocks.2.mlp.2", 2.0),
    ),
    macs=1000,
    quantized_macs=968,
)
SEEDS = [
    {"seed": 0, "sqnr_db": 31.0, "agreement": 0.97, "drop": 0.8},
    {"seed": 1, "sqnr_db": 33.0, "agreement": 0.98, "drop": 0.4},
    {"seed": 2, "sqnr_db": 32.0, "agreement": 0.975, "drop": 0.6},
]


def example_run() -> Manifest:
    """One row of each verdict, a skipped stage, a subset, and a cell with a bar in it."""
    passed = judgement("sqnr", Verdict.PASS, "63.0 dB at batch 32, gate 60 dB")
    return Manifest(
        recipe={"batch": list(BATCHES), "max_drop": 1.0, "max_psnr_drop": 0.1},
        target="rtx",
        machine={"system": "Linux x86_64", "gpu": "no GPU"},
        checkpoint={"file": "swin.safetensors", "sha256": "1" * 64, "classes": ["cat", "dog"]},
        evaluation={
            "kind": "images",
            "source": "images.npz",
            "images": 2000,
            "labelled": True,
            "pictures": False,
            "remark": "",
            "task": task_to_json(Classifier(2)),
            "output_bytes": 8,
            "fingerprint": "2" * 64,
            "preprocess": {"height": 64, "width": 64, "channels": 3},
        },
        steps=(
            step(
                "reference",
                "load",
                "checkpoint",
                Row("oracle", "torch", None, Verdict.INFO, measurement=measurement(EXACT_DB, 1.0, drop=0.0)),
                facts={"dialect": "timm", "parameters": 1234, "evidence": ["long"]},
            ),
            step(
                "compiled",
                "compile",
                "deployment",
                file=None,
                sha256="",
                bytes=0,
                skipped="no C++ compiler: install g++",
            ),
            step(
                "fp32",
                "simplify",
                "exported",
                Row(
                    "graph",
                    "onnxruntime",
                    "fp32",
                    Verdict.PASS,
                    measurement=measurement(120.0, 1.0, drop=0.0, parent=EXACT_DB),
                    judgements=(passed,),
                ),
                facts={"nodes": {"before": 500, "after": 300}},
            ),
            step(
                "deployment-fp16",
                "half",
                "deployment",
                Row(
                    "numerics",
                    "torch",
                    "fp16-numerics",
                    Verdict.PASS,
                    measurement=measurement(63.0, 1.0, images=256, parent=63.5),
                    judgements=(passed,),
                ),
            ),
            step(
                "int8-qdq",
                "quantize",
                "fp32",
                Row(
                    "literal Q/DQ",
                    "onnxruntime, literal",
                    "int8",
                    Verdict.INCONCLUSIVE,
                    measurement=measurement(31.0, 0.971, drop=0.8, parent=31.25),
                    judgements=(judgement("top1-drop", Verdict.INCONCLUSIVE, "+0.80 points, margin 1"),),
                    quantization=MEASURED.to_json(),
                ),
                Row("optimised", "onnxruntime", None, Verdict.INFO, measurement=measurement(30.0, 0.97, drop=0.9)),
                facts={"calibration": {"amax": {}}, "seeds": SEEDS},
                notes=("only 64 calibration images",),
                precision="int8",
            ),
            step(
                "bf16",
                "cast",
                "fp32",
                Row(
                    "graph",
                    "onnxruntime",
                    "bf16",
                    Verdict.FAIL,
                    measurement=measurement(-EXACT_DB, 0.5, drop=40.0, parent=-EXACT_DB),
                    judgements=(judgement("finite", Verdict.FAIL, "NaN or Inf at batch 32"),),
                ),
                file="bf16.onnx.rejected",
            ),
            step(
                "fp16-engine",
                "build",
                "fp16",
                Row("engine", "tensorrt_rtx", "fp16-engine", Verdict.SKIPPED, reason="no NVIDIA GPU | driver"),
                file="fp16.rtx.plan",
            ),
        ),
        status=4,
        verdict="FAIL: bf16 did not pass its gate",
        recommendation="Recommended: FP16: as an example.",
        seconds=12.5,
    )


def dense_run(task: Task | None, measured: Measurement, *, images: int = 8, pictures: bool = False) -> Manifest:
    """An oracle and one gated artifact of a network without classes."""
    manifest = example_run()
    evaluation = {
        **manifest.evaluation,
        "kind": "images" if pictures else "synthetic",
        "images": images,
        "labelled": False,
        "pictures": pictures,
        "task": None if task is None else task_to_json(task),
    }
    rows = (
        Row("oracle", "torch", None, Verdict.INFO, measurement=replace(measured, parent=None).to_json()),
        Row("graph", "onnxruntime", "fp16-graph", Verdict.PASS, measurement=measured.to_json()),
    )
    steps = (step("reference", "load", "checkpoint", rows[0]), step("fp16", "cast", "fp32", rows[1]))
    return replace(manifest, evaluation=evaluation, steps=steps, status=0, verdict="PASS")


def backbone_run(*, images: int = 8) -> Manifest:
    """A backbone of three stages whose second is the worst, at the smallest batch."""
    distances = {
        size: Distance(count, True, 61.0 + place, 0.01, None, {"stage1": 70.0, "stage2": 61.0 + place, "stage3": 75.25})
        for place, (size, count) in enumerate(((1, 2), (8, 8), (32, 8)))
    }
    return dense_run(Backbone((1, 2, 3), True), Measurement(distances, distances[8], None), images=images)


def restoration_run(drop: PsnrDrop | None = None) -> Manifest:
    """A network of scale 2, with pairs where there is a drop."""
    distances = {size: Distance(8, True, 62.0, 0.01, None, {}, 66.0 + size / 8, 0.98) for size in BATCHES}
    measured = Measurement(distances, distances[8], drop)
    return dense_run(Restoration(2, "pixelshuffle"), measured, pictures=drop is not None)


LOST = PsnrDrop(8, 32.1, 32.085, 0.015, 0.01, 0.008, 0.022)


if __name__ == "__main__":
    GOLDEN.write_text(markdown_report(example_run()), encoding="utf-8")
