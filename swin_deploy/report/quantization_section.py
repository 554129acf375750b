"""The part of the report that speaks of INT8: the recommendation, the plan's figures, its blocks and its worst fits."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from swin_deploy.artifact import Precision
from swin_deploy.manifest import Manifest
from swin_deploy.quantization.block_noise import most_noise
from swin_deploy.quantization.measure import QuantizationMeasure
from swin_deploy.report.block_chart import text_bars
from swin_deploy.report.ledger import decibels
from swin_deploy.report.plan_figures import Chain, chain_of, chains, figures_of, kernels_of, recommended
from swin_deploy.report.sensitivity_section import sensitivity_section
from swin_deploy.report.tools_section import tools_section

__all__ = ["picture_name", "quantization_sections"]

_WORST = 5


def picture_name(precision: str) -> str:
    """File name of the picture of a chain's blocks, beside the report."""
    return f"{precision}.blocks.svg"


def quantization_sections(manifest: Manifest, pictures: frozenset[str] = frozenset()) -> Iterator[str]:
    """Markdown lines, one section a quantized precision.

    Args:
        manifest: The finished run.
        pictures: Names of the pictures that were drawn; bars of text stand for the others.
    """
    for chain in chains(manifest):
        yield ""
        yield f"## {chain.precision.upper()}"
        yield ""
        yield recommended(manifest, chain).sentence
        yield ""
        yield "| figure | value |"
        yield "|---|---|"
        for name, value in _figures(manifest, chain):
            yield f"| {name} | {value.replace('|', chr(92) + '|')} |"
        if chain.measure is not None:
            yield from _blocks(chain, chain.measure, pictures)
            yield from _fits(chain.measure)
        for step in chain.steps:
            if "search" in step.facts:
                yield from sensitivity_section(step.facts["search"])
            if "solutions" in step.facts:
                yield from tools_section(step.facts["solutions"])


def _figures(manifest: Manifest, chain: Chain) -> Iterator[tuple[str, str]]:
    name, fp16 = chain.precision.upper(), chain_of(manifest, Precision.FP16.value)
    row = chain.judged
    if row is not None and row.measurement is not None:
        yield "measured as", f"{row.label} ({row.backend})"
        yield from _accuracy(manifest, row.measurement)
    else:
        yield "accuracy", "not executed here"
    measure = chain.measure
    if measure is not None and measure.macs:
        share = 100 * measure.quantized_macs / measure.macs
        yield f"linears in {name}", f"{len(measure.linears)}, {share:.1f} % of the linears' multiplications"
    for kind, own, rival in (("graph", chain.graph, fp16.graph), ("engine", chain.engine, fp16.engine)):
        if own is not None:
            beside = f"; FP16: {_size(rival.bytes)}" if rival else "; no FP16 in this run"
            yield f"size of the {kind}", f"{_size(own.bytes)}{beside}"
    if chain.engine is not None:
        yield "kernels", f"{_kernels(kernels_of(chain.engine))}; FP16: {_kernels(kernels_of(fp16.engine))}"
    speed = figures_of(manifest, chain).speed
    if speed is not None:
        quartiles = f"{speed.low:.2f} to {speed.high:.2f}"
        yield "speed", f"{speed.ratio:.2f} times FP16's ({quartiles}) at batch {speed.batch} on {speed.device}"
    else:
        yield "speed", f"not measured here: {_no_speed(manifest)}"
    seeds = next((step.facts["seeds"] for step in chain.steps if step.facts.get("seeds")), None)
    if seeds:
        yield f"over {len(seeds)} calibration seeds", _seeds(seeds)


def _accuracy(manifest: Manifest, measurement: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    distances = list(measurement["oracle"].values())
    task = measurement["task"]
    if manifest.task == "classifier":
        largest = max(distances, key=lambda entry: int(entry["images"]))
        if task is not None:
            bounds = f"one-sided 95 % bounds {task['lower']:+.2f} and {task['upper']:+.2f}"
            yield "drop in top-1, points", f"{task['drop']:+.2f}, {bounds}, of {task['images']} images"
            if "mcnemar_p" in task:
                counts = f"{task['lost']} images lost, {task['won']} won"
                yield "McNemar p", f"{task['mcnemar_p']:.3g} ({counts}; exact, two-sided)"
        else:
            yield "drop in top-1, points", "NOT MEASURED"
        yield "agreement", f"{100 * largest['agreement']:.2f} % of {largest['images']} images"
    if manifest.task == "restoration" and task is not None:
        known = task["lower"] is not None
        bounds = f", one-sided 95 % bounds {task['lower']:+.3f} and {task['upper']:+.3f}" if known else ""
        yield "drop in PSNR-Y, dB", f"{task['drop']:+.3f}{bounds}, of {task['images']} images"
    yield "SQNR at the outputs", f"{decibels(min(float(entry['sqnr_db']) for entry in distances))} dB"


def _kernels(census: Mapping[str, Any] | None) -> str:
    if census is None:
        return "not listed"
    lowest = "at least " if census.get("opaque") else ""
    parts = f"{census['fused_attentions']} fused attentions, {census['int8_gemms']} of {census['gemms']} GEMMs in INT8"
    return f"{lowest}{census['kernels']} ({parts})"


def _no_speed(manifest: Manifest) -> str:
    gpu = str(manifest.machine.get("gpu", "no GPU"))
    return "the engines were not timed" if manifest.speed is None and "no " not in gpu.lower() else gpu


def _seeds(seeds: list[Mapping[str, Any]]) -> str:
    parts = []
    for key, unit, digits, factor in (
        ("sqnr_db", "dB", 1, 1.0),
        ("agreement", "% agreement", 2, 100.0),
        ("drop", "points of drop", 2, 1.0),
    ):
        values = [factor * float(entry[key]) for entry in seeds if entry.get(key) is not None]
        if values:
            spread = f" (standard deviation {statistics.stdev(values):.{digits}f})" if len(values) > 1 else ""
            parts.append(f"{min(values):.{digits}f} to {max(values):.{digits}f} {unit}{spread}")
    return "; ".join(parts)


def _blocks(chain: Chain, measure: QuantizationMeasure, pictures: frozenset[str]) -> Iterator[str]:
    if not measure.blocks:
        return
    yield ""
    yield "### SQNR at each block's output"
    yield ""
    found = most_noise(measure.blocks)
    assert found is not None
    yield (
        f"Against the FP32 graph on {measure.images} images, noise of all blocks before included. Most noise enters at "
        f"{found[0]}."
    )
    yield ""
    picture = picture_name(chain.precision)
    if picture in pictures:
        yield f"![SQNR at each block's output]({picture})"
        yield ""
    else:
        yield "```text"
        yield from text_bars(measure.blocks)
        yield "```"
        yield ""
        yield "A picture instead of these bars needs matplotlib: `pip install 'swin-deploy[report]'`."
        yield ""
    yield "| block | SQNR dB | its linear with the worst fit | loss dB |"
    yield "|---|---|---|---|"
    for block, value in measure.blocks.items():
        inside = [linear for linear in measure.linears if linear.block == block]
        worst = max(inside, key=lambda linear: linear.loss_db) if inside else None
        named = [worst.module, f"{worst.loss_db:.1f}"] if worst else ["-", "-"]
        yield f"| {block} | {decibels(value)} | {' | '.join(named)} |"


def _fits(measure: QuantizationMeasure) -> Iterator[str]:
    yield ""
    yield "### Does the calibration fit these images?"
    yield ""
    told = "" if measure.representative else " The images are made up, so it is shown and not judged."
    yield (
        "A linear's loss is the noise of its rounded input against what the best step for these images would make, in "
        "dB at its output. The loss by its weights is against the float ones rounded to the nearest: below 0 where "
        f"they were reconstructed.{told}"
    )
    yield ""
    yield "| linear | loss dB | SQNR of its input dB | clipped % | loss by its weights dB |"
    yield "|---|---|---|---|---|"
    for linear in sorted(measure.linears, key=lambda linear: linear.loss_db, reverse=True)[:_WORST]:
        weights = "-" if linear.weight_loss_db is None else f"{linear.weight_loss_db:.1f}"
        cells = [linear.module, f"{linear.loss_db:.1f}", decibels(linear.input_db), f"{100 * linear.clipped:.3f}"]
        yield f"| {' | '.join([*cells, weights])} |"


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
