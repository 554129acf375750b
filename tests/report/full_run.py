"""A run that has everything a page can show, and what two devices wrote of its bundle; imagined, as its names say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from swin_deploy.benchmark.result import Benchmark
from swin_deploy.device.benchmark_line import Line, Ratio, Skipped
from swin_deploy.device.distances import EXACT_DB
from swin_deploy.device.kernel_census import KernelCensus
from swin_deploy.device.latency import summarised
from swin_deploy.manifest import AUDIT, Manifest, Row, StepRecord
from swin_deploy.parity.gates import Verdict
from swin_deploy.report.plan_figures import recommendation
from tests.report.example_run import MEASURED, example_run, judgement, measurement, step

DEVICE = "Imagined GPU, compute capability 8.6"
_MS = {"fp32": 4.0, "fp16": 1.0, "int8": 0.85, "fp8": 0.95}


def census(kernels: int, **products: int) -> dict[str, Any]:
    """As a build step keeps it."""
    count = sum(products.values())
    int8 = products.get("int8", 0)
    return KernelCensus(kernels, 12, count, int8, 0, {"gemm": count}, products, reformats=1, casts=2).facts()


def engine(precision: str, parent: str, kernels: dict[str, Any]) -> StepRecord:
    """A plan that was audited and never executed."""
    verdict = judgement("precision", Verdict.PASS, f"every product that was asked for reads {precision}")
    rows = (
        Row("engine", "tensorrt_rtx", f"{precision}-engine", Verdict.SKIPPED, reason="no NVIDIA driver is here"),
        Row(AUDIT, "builder log", AUDIT, Verdict.PASS, judgements=(verdict,)),
    )
    return step(
        f"{precision}-engine",
        "build",
        parent,
        *rows,
        precision=precision,
        format="rtx-plan",
        file=f"{precision}.rtx.plan",
        bytes=12 << 20,
        facts={"kernels": {"8.6": kernels, "8.9": kernels, "12.0": {**kernels, "kernels": kernels["kernels"] + 1}}},
    )


def qdq(precision: str, decibels: float, drop: float, **facts: Any) -> StepRecord:
    """A quantized graph that passed, whose twelve blocks get noisier."""
    checks = (
        judgement("sqnr", Verdict.PASS, f"{decibels} dB at batch 32, gate 25 dB"),
        judgement("top1-drop", Verdict.PASS, f"{drop:+.2f} points, margin 1"),
    )
    blocks = {f"blocks.{place}": decibels + 24 - 2.5 * place for place in range(12)}
    row = Row(
        "literal Q/DQ",
        "onnxruntime, literal",
        precision,
        Verdict.PASS,
        measurement=measurement(decibels, 0.985, drop=drop, parent=decibels + 0.5),
        judgements=checks,
        quantization=replace(MEASURED, grid=precision, blocks=blocks).to_json(),
    )
    optimised = Row("optimised", "onnxruntime", None, Verdict.INFO, measurement=measurement(decibels, 0.98, drop=drop))
    return step(f"{precision}-qdq", "quantize", "fp32", row, optimised, precision=precision, facts=facts)


def graph(precision: str, decibels: float, drop: float, parent: str) -> StepRecord:
    """A typed graph that passed."""
    checks = (judgement("top1-drop", Verdict.PASS, f"{drop:+.2f} points, margin 1"),)
    gate = {"fp16": "fp16-graph"}.get(precision, precision)
    found = measurement(decibels, 0.99, drop=drop, parent=EXACT_DB if precision == "fp32" else decibels + 6)
    row = Row("graph", "onnxruntime", gate, Verdict.PASS, measurement=found, judgements=checks)
    return step(precision, "cast", parent, row, precision=precision)


def search() -> dict[str, Any]:
    """As `Searched.to_json` gives it: all, each left out in turn, one put back."""
    moves = [("all", 100.0, 1.4, False), ("float", 0.0, 0.0, True)]
    moves += [("leave out", 100.0 - 4 * place, 1.4 - 0.07 * place, place > 5) for place in range(1, 12)]
    moves += [("put back", 84.0 - place, 0.8 - 0.01 * place, True) for place in range(6)]
    steps = [
        {
            "move": move,
            "changes": [f"-blocks.{place}.mlp.0"] if saving else [],
            "sqnr_db": 30.0 + place,
            "drop": drop,
            "drop_upper": drop + 0.35,
            "acceptable": kept,
            "kept": kept,
            "saving": saving,
        }
        for place, (move, saving, drop, kept) in enumerate(moves)
    ]
    damage = {"group": "all", "linears": 48, "noise": 1e-3, "sqnr_db": 30.0, "drop": 1.4, "drop_upper": 1.75}
    plan = {"choice": {"blocks.0.mlp.0": "int8"}, "saving": 84.0, "possible": 100.0, "steps": steps}
    return {
        "plan": plan,
        "spent": [],
        "choice": {"blocks.0.mlp.0": "int8"},
        "reason": "of what was left out, nothing could be put back",
        "sensitivity": {"together": damage, "blocks": [damage], "kinds": [damage], "linears": [damage]},
        "measured": len(steps),
        "resumed": 0,
    }


def benchmark(artifacts: dict[str, str], batches: tuple[int, ...] = (1, 8, 32)) -> Benchmark:
    """Times of files by precision, with long tails."""
    generator, lines = np.random.default_rng(0), []
    for batch in batches:
        for name, precision in artifacts.items():
            usual = _MS[precision] * (0.3 + 0.11 * batch)
            latency = summarised(usual * (1 + 0.03 * generator.gamma(1.5, 1, 400)), 20)
            ratio = _MS["fp16"] / _MS[precision]
            lines.append(
                Line(
                    f"run/{name}",
                    "tensorrt_rtx",
                    batch,
                    precision,
                    False,
                    latency,
                    Ratio(ratio, ratio - 0.02 * (ratio != 1), ratio + 0.02 * (ratio != 1)),
                    0.02 * batch,
                    0.9 * usual,
                    0.01,
                    device_bytes=int(40e6 * _MS[precision]),
                    roofline_share=0.3 / _MS[precision],
                )
            )
    machine = {"gpu": DEVICE, "processor": "Imagined processor", "system": "Linux x86_64", "python": "3.11.0"}
    skipped = (Skipped("torch.compile of the checkpoint", "torch.compile", "fp16", "no C++ compiler: install g++"),)
    return Benchmark(tuple(lines), skipped, 100, 20, 8, machine, {"tf32": False, "cuda_graph": False})


def full_run() -> Manifest:
    """Passed where it could be judged; FP16, INT8 by a search, and FP8; timed."""
    plain = example_run()
    steps = (
        plain.steps[0],
        plain.steps[1],
        graph("fp32", 120.0, 0.0, "exported"),
        graph("fp16", 66.0, 0.05, "fp32"),
        engine("fp16", "fp16", census(105, fp16=48)),
        qdq("int8", 31.0, 0.3, search=search()),
        engine("int8", "int8-qdq", census(120, int8=44, fp16=4)),
        qdq("fp8", 28.0, 0.45),
        engine("fp8", "fp8-qdq", census(118, fp8=44, fp16=4)),
    )
    files = {"fp16.rtx.plan": "fp16", "int8.rtx.plan": "int8", "fp8.rtx.plan": "fp8"}
    verdict = "PASS: every gate that could be judged here passed; 4 SKIPPED (not executed, so not proven)"
    made = replace(plain, steps=steps, status=0, verdict=verdict, speed=benchmark(files).to_json())
    return replace(made, recommendation=recommendation(made))


def finish_json(name: str = "Imagined Orin", *, failed: bool = False) -> dict[str, Any]:
    """As a device writes it; with one engine refused where it `failed`."""
    passed = {
        "name": "fp16",
        "precision": "fp16",
        "profile": "trt86",
        "file": "fp16.plan",
        "verdict": "PASS",
        "checks": [judgement("sqnr", Verdict.PASS, "63.0 dB at batch 32, gate 50 dB")],
        "batches": {str(size): {"sqnr_db": 63.0, "agreement": 1.0, "images": 32} for size in (1, 8, 32)},
        "build": {"seconds": 200.0, "reused": False},
        "audit": census(105, fp16=48),
        "latency": [line.facts() for line in benchmark({"fp16": "fp16"}).lines],
        "telemetry": {
            "source": "sysfs",
            "board": name,
            "power_mode": "MAXN",
            "power_w": {"VDD_IN": {"mean": 14.2, "min": 9.0, "max": 21.0}},
            "energy_j": 28.4,
            "temperatures_c": {"gpu": {"mean": 51.0, "min": 49.0, "max": 53.5}},
            "clocks_mhz": {},
            "throttled": ["the GPU's clock was held at 612 of 1300 MHz"],
            "notes": [],
        },
        "reason": "",
        "error": None,
    }
    refused = {
        **passed,
        "name": "int8",
        "precision": "int8",
        "file": "int8.plan.rejected",
        "verdict": "FAIL",
        "checks": [judgement("slots", Verdict.FAIL, "slot 31 of batch 32 is off by 0.05 of its size")],
        "latency": [],
        "telemetry": None,
        "audit": None,
    }
    unmade = {**refused, "name": "fp8", "precision": "fp8", "file": None, "verdict": "SKIPPED", "checks": []}
    unmade |= {"batches": None, "reason": "TensorRT 8.6 has no FP8"}
    return {
        "schema_version": 1,
        "kind": "finish",
        "bundle": {"name": "swin", "target": "orin", "sha256": "3" * 64},
        "device": {"name": name, "system": "Linux aarch64", "gpu": "Orin"},
        "tool": {"package": "tensorrt", "version": "8.6.2"},
        "engines": [passed, *([refused, unmade] if failed else [])],
        "remarks": ["Times are of a board that was warm."],
        "seconds": 321.0,
        "status": 4 if failed else 0,
        "verdict": "FAIL: int8 did not pass the gates" if failed else "PASS: fp16",
    }


def write_finish(path: Path, **options: Any) -> Path:
    """`finish_json` as a file."""
    path.write_text(json.dumps(finish_json(**options)), encoding="utf-8")
    return path
