"""Measure a Q/DQ graph against the float graph it was made from: noise along the blocks, and each linear's fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from swin_deploy.onnx_graph.input_groups import values_before
from swin_deploy.onnx_graph.linears import Linear, linears
from swin_deploy.quantization.block_noise import BlockNoise
from swin_deploy.quantization.calibration_fit import LinearFit, channel_factors, fit_linear
from swin_deploy.quantization.quantized_linears import block_outputs, quantized_linears

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["VERSION", "QuantizationMeasure", "measure_quantization"]

Array = npt.NDArray[np.float32]

VERSION = 1
"""Changes with what is measured, so that a resumed run does not go on with figures of another kind."""
# Values of a tensor that are kept for its fit: a search over steps passes over them some thirty times.
_VALUES = 1 << 18
_FEWEST_ROWS = 64


@dataclass(frozen=True)
class QuantizationMeasure:
    """What is known of one Q/DQ graph beside its outputs; scalars only, so that gates can judge it again later.

    Attributes:
        grid: `int8` or `fp8`.
        images: How many images it was shown.
        representative: Whether they are of the kind that it was calibrated for: made-up images are not, and say
            nothing of a calibration.
        blocks: SQNR at each block's output, in dB; empty for a network without blocks.
        linears: The fit of each quantized linear, in the graph's order.
        macs: Multiplications an image of all linears.
        quantized_macs: Those of the quantized ones.
    """

    grid: str
    images: int
    representative: bool
    blocks: Mapping[str, float]
    linears: tuple[LinearFit, ...]
    macs: int
    quantized_macs: int

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return {
            "version": VERSION,
            **self.__dict__,
            "blocks": dict(self.blocks),
            "linears": [linear.to_json() for linear in self.linears],
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> QuantizationMeasure:
        """Read what `to_json` wrote."""
        kept = {key: value for key, value in raw.items() if key != "version"}
        return cls(**{**kept, "linears": tuple(LinearFit(**linear) for linear in raw["linears"])})


def measure_quantization(
    qdq: Path, fp32: Path, batches: Sequence[Array], *, representative: bool = True
) -> QuantizationMeasure | None:
    """Run both graphs over the images, the Q/DQ one literally.

    In memory are the inputs of all linears for one batch, and a sample of each over all.

    Args:
        qdq: Q/DQ graph.
        fp32: The float graph it was made from.
        batches: Network inputs, each [images, channels, H, W].
        representative: See `QuantizationMeasure`.

    Returns:
        `None` where the graph holds no quantized linear, or its tensors hold a NaN or an infinity: then nothing can be
        told of its steps, and the gate on its outputs speaks.
    """
    import onnx
    from onnx import numpy_helper

    from swin_deploy.backends.onnxruntime import tensors_of

    model, float_model = onnx.load(qdq), onnx.load(fp32)
    chosen = list(quantized_linears(model))
    if not chosen:
        return None
    held = {tensor.name: tensor for tensor in float_model.graph.initializer}
    floats = {float_model.graph.node[linear.node].name: linear for linear in linears(float_model)}
    own_blocks, float_blocks = block_outputs(model), block_outputs(float_model)
    blocks = [block for block in float_blocks if block in own_blocks]

    float_names = [linear.activation for linear in floats.values()]
    runs = zip(
        tensors_of(fp32, [*float_names, *(float_blocks[block] for block in blocks)], batches),
        tensors_of(
            qdq,
            [*(linear.tensor for linear in chosen), *(own_blocks[block] for block in blocks)],
            batches,
            literal=True,
        ),
        strict=True,
    )
    images = sum(len(batch) for batch in batches)
    noise = BlockNoise()
    kept: dict[str, list[Array]] = {linear.node: [] for linear in chosen}
    float_kept: dict[str, list[Array]] = {linear.node: [] for linear in chosen}
    tokens: dict[str, int] = {}
    for number, (wanted, seen) in enumerate(runs):
        count = len(batches[number])
        noise.update(
            {block: seen[own_blocks[block]] for block in blocks},
            {block: wanted[float_blocks[block]] for block in blocks},
        )
        for node, linear in floats.items():
            values = wanted[linear.activation]
            tokens[node] = values.size // values.shape[-1] // count
        for quantized in chosen:
            values = seen[quantized.tensor]
            flat = values.reshape(-1, values.shape[-1])  # [tokens, channels]
            rows = max(_FEWEST_ROWS, _VALUES // flat.shape[1])
            # The same tokens in both graphs.
            generator = np.random.default_rng([number, flat.shape[0], flat.shape[1]])
            share = min(len(flat), -(-rows * count // images))
            places = generator.choice(len(flat), share, replace=False)
            kept[quantized.node].append(flat[places])
            if quantized.node in floats:
                origin = wanted[floats[quantized.node].activation]
                float_kept[quantized.node].append(origin.reshape(-1, origin.shape[-1])[places])
    float_weights = {node: numpy_helper.to_array(held[linear.weight]) for node, linear in floats.items()}
    samples = {node: np.concatenate(parts) for node, parts in kept.items()}
    float_samples = {node: np.concatenate(parts) for node, parts in float_kept.items() if parts}
    if not all(np.isfinite(sample).all() for sample in (*samples.values(), *float_samples.values())):
        return None
    _follow_values(float_model, floats, float_weights, samples, float_samples)
    found = [
        fit_linear(
            quantized,
            samples[quantized.node],
            float_samples.get(quantized.node, samples[quantized.node]),
            float_weights.get(quantized.node),
        )
        for quantized in chosen
    ]
    macs = {
        node: tokens[node] * int(held[linear.weight].dims[0]) * int(held[linear.weight].dims[1])
        for node, linear in floats.items()
    }
    return QuantizationMeasure(
        grid=chosen[0].grid.name,
        images=images,
        representative=representative,
        blocks=noise.sqnr_db(),
        linears=tuple(found),
        macs=sum(macs.values()),
        quantized_macs=sum(macs.get(quantized.node, 0) for quantized in chosen),
    )


def _follow_values(
    float_model: ModelProto,
    floats: Mapping[str, Linear],
    float_weights: dict[str, Array],
    samples: Mapping[str, Array],
    float_samples: Mapping[str, Array],
) -> None:
    """Scale the float weights of a qkv as its projection's input was moved.

    Attention only averages values, so that a tool may divide the projection's input by scaling the value part of qkv;
    the projection's input shows by how much.
    """
    nodes = {linear.module: node for node, linear in floats.items()}
    for node, seen in float_samples.items():
        qkv = values_before(float_model, floats[node])
        if qkv is None:
            continue
        factors = channel_factors(samples[node], seen)
        columns = np.ones(3 * len(factors), np.float32)
        columns[-len(factors) :] = 1 / factors
        float_weights[nodes[qkv.module]] = float_weights[nodes[qkv.module]] * columns
