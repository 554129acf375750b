"""A tiny model of the chain with all its block linears solved, as the quantize stage does it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calib.image_source import ArrayRow
from calib.images import ImageSet
from calib.synthetic import structured_images
from swin_deploy.backends.onnxruntime import tensors_of
from swin_deploy.checkpoint.task import Classifier
from swin_deploy.onnx_graph.input_groups import input_groups
from swin_deploy.onnx_graph.linears import Linear, quantizable
from swin_deploy.parity.evaluation import EvaluationSet
from swin_deploy.quantization.solve import Settings, Solved, observe, sample_inputs, solve
from tests.chain import PREPROCESS, Chain

__all__ = ["labelled", "macs", "solved_of"]


def solved_of(chain: Chain, settings: Settings | None = None, chosen: Sequence[Linear] | None = None) -> Solved:
    """Every linear that can be quantized, or those that are `chosen`."""
    settings = settings or Settings()
    model, path = chain.model("simplified"), chain.artifact("simplified").path
    wanted = quantizable(model) if chosen is None else list(chosen)
    batches = [PREPROCESS.batch(chain.images)]
    count = len(chain.images)
    samples = sample_inputs(model, path, input_groups(model, wanted), batches, count, settings.seed)
    observed = observe(tensors_of(path, list(samples), batches), settings, count)
    return solve(model, wanted, samples, settings, observed)


def labelled(chain: Chain, count: int, seed: int = 11) -> EvaluationSet:
    """Images with the labels that the float network gives them, but for every fourth: its top-1 is 75 %."""
    pixels = structured_images(count, 28, 28, seed=seed)
    logits = chain.logits(PREPROCESS.batch(pixels))
    given = [(int(np.argmax(row)) + (index % 4 == 0)) % 5 for index, row in enumerate(logits)]
    rows = tuple(ArrayRow("labelled", pixels, row) for row in range(count))
    images = ImageSet("labelled", tuple(map(str, range(count))), tuple(given), None, rows)
    return EvaluationSet(images, PREPROCESS, task=Classifier(5))


def macs(solved: Solved) -> dict[str, int]:
    """Made-up: a hundred rows of each linear."""
    return {
        linear.module: 100 * solved.problems[tensor].weight.size
        for tensor, group in solved.groups.items()
        for linear in group.linears
    }
