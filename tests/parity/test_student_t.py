"""Quantiles of Student's t against the printed table."""

from __future__ import annotations

import pytest

from swin_deploy.device.score_interval import ONE_SIDED_95
from swin_deploy.parity.student_t import one_sided_95


@pytest.mark.parametrize(
    ("freedom", "printed"),
    # Student's table as every textbook has it, e.g. Abramowitz and Stegun, table 26.10.
    [(1, 6.314), (2, 2.920), (3, 2.353), (4, 2.132), (5, 2.015), (9, 1.833), (10, 1.812), (13, 1.771), (30, 1.697),
     (60, 1.671), (120, 1.658)],
)  # fmt: skip
def test_the_quantiles_are_those_of_the_printed_table(freedom: int, printed: float) -> None:
    assert one_sided_95(freedom) == pytest.approx(printed, abs=6e-4)


def test_many_degrees_of_freedom_are_a_normal_distribution_and_few_are_wider() -> None:
    found = [one_sided_95(freedom) for freedom in range(1, 200)]
    assert found == sorted(found, reverse=True)
    assert found[-1] > ONE_SIDED_95
    assert one_sided_95(100_001) == pytest.approx(ONE_SIDED_95, abs=1e-4)


def test_no_degree_of_freedom_has_no_quantile() -> None:
    with pytest.raises(ValueError, match="0 degrees"):
        one_sided_95(0)
