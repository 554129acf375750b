"""Each shipped variant is its definition: compared in FP64 with an implementation by loops, in both forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.model.variants import naive
from tests.model.variants.cases import GEOMETRIES, V1_STAGE, V2_STAGE, from_stream, make, raster, to_stream

NAIVE: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "channel-gate": naive.channel_gate,
    "linformer": naive.linformer,
    "performer": naive.performer,
    "routing": naive.routing,
}
CASES = [(name, "v1") for name in NAIVE] + [("channel-gate", "v2")]


@pytest.mark.parametrize("place", GEOMETRIES)
@pytest.mark.parametrize(("name", "family"), CASES)
@torch.no_grad()
def test_a_variant_is_what_loops_over_tokens_make_of_its_definition(name: str, family: str, place: str) -> None:
    geometry = GEOMETRIES[place]
    attention = make(name, geometry, V1_STAGE if family == "v1" else V2_STAGE)
    x = raster(geometry, 2)
    wanted = NAIVE[name](attention, x)
    bound = 1e-10 * float(wanted.abs().max())
    assert (attention(x) - wanted).abs().max() <= bound
    folded = attention.folded()(to_stream(x, geometry))
    assert (from_stream(folded, geometry) - wanted).abs().max() <= bound


@pytest.mark.parametrize("name", NAIVE)
@torch.no_grad()
def test_a_slip_in_the_definition_would_be_noticed(name: str) -> None:
    geometry = GEOMETRIES["shifted"]
    attention, x = make(name, geometry), raster(geometry, 1)
    wanted = NAIVE[name](attention, x)
    part = {
        "channel-gate": lambda: attention.gate.norm.running_mean,
        "linformer": lambda: attention.key_projection,
        "performer": lambda: attention.features,
        "routing": lambda: attention.relative_position_bias_table,
    }[name]()
    part[(0,) * part.dim()] += 1e-2
    assert (attention(x) - wanted).abs().max() > 1e-8
