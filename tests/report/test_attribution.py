"""Which step made the noise: worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from swin_deploy.device.distances import EXACT_DB
from swin_deploy.report.attribution import attributed, made_here
from tests.report.example_run import example_run
from tests.report.full_run import full_run


def noise(oracle: float, parent: float | None) -> dict[str, object]:
    return {"oracle": {"8": {"sqnr_db": oracle}}, "parent": None if parent is None else {"sqnr_db": parent}}


@pytest.mark.parametrize(
    ("oracle", "parent", "share"),
    [
        (40.0, 40.0, 1.0),  # as far from the parent as from the oracle: the parent was exact
        (40.0, 50.0, 0.1),  # a tenth of the power
        (40.0, 43.0103, 0.5),
        (40.0, 38.0, 1.0),  # undid some of its parent's error: no more than all
        (40.0, EXACT_DB, 0.0),
        (EXACT_DB, EXACT_DB, 0.0),
        (EXACT_DB, 50.0, None),  # came back to the oracle, which no share describes
        (-EXACT_DB, -EXACT_DB, None),
        (40.0, None, None),
    ],
)
def test_the_share_is_the_quotient_of_the_powers(oracle: float, parent: float | None, share: float | None) -> None:
    found = made_here(noise(oracle, parent), "8")
    assert found is None if share is None else found == pytest.approx(share, abs=1e-5)


def test_a_row_that_has_not_seen_the_usual_batch_has_no_share() -> None:
    assert made_here(noise(40.0, 50.0), "16") is None


def test_every_measured_row_but_the_oracle_is_attributed() -> None:
    found = attributed(full_run())
    assert [(row.artifact, row.label) for row in found] == [
        ("fp32", "graph"),
        ("fp16", "graph"),
        ("int8-qdq", "literal Q/DQ"),
        ("int8-qdq", "optimised"),
        ("fp8-qdq", "literal Q/DQ"),
        ("fp8-qdq", "optimised"),
    ]
    gates = [row.needed_db for row in found]
    assert gates == [100.0, 60.0, 25.0, None, 25.0, None]
    assert found[0].share == 0.0 and found[3].parent_db is None


def test_a_dense_run_has_the_gates_of_dense_networks() -> None:
    manifest = full_run()
    dense = replace(manifest, evaluation={**manifest.evaluation, "task": {"kind": "backbone"}})
    assert [row.needed_db for row in attributed(dense)][1] == 50.0


def test_a_gate_that_the_table_does_not_know_asks_for_nothing() -> None:
    assert attributed(example_run())[1].needed_db == 60.0
    manifest = example_run()
    row = replace(manifest.steps[2].rows[0], gate="of tomorrow")
    odd = replace(manifest, steps=(replace(manifest.steps[2], rows=(row,)),))
    assert attributed(odd)[0].needed_db is None
