"""McNemar's exact p value, worked out by hand."""

from __future__ import annotations

import pytest

from swin_deploy.parity.mcnemar import mcnemar_p


@pytest.mark.parametrize(
    ("lost", "won", "wanted"),
    [
        (0, 0, 1.0),  # nothing decided differently says nothing
        (1, 0, 1.0),  # 2 * 1/2
        (2, 0, 0.5),  # 2 * 1/4
        (5, 0, 0.0625),  # 2 * 1/32
        (6, 0, 0.03125),  # 2 * 1/64: the least number of images that 5 % is reached with
        (3, 1, 0.625),  # 2 * (1 + 4) / 16
        (8, 2, 0.109375),  # 2 * (1 + 10 + 45) / 1024
        (4, 4, 1.0),  # 2 * (1 + 8 + 28 + 56 + 70) / 256 is above 1
    ],
)
def test_the_p_value_is_twice_the_lower_tail_of_a_fair_coin(lost: int, won: int, wanted: float) -> None:
    assert mcnemar_p(lost, won) == wanted


@pytest.mark.parametrize(("lost", "won"), [(7, 2), (30, 60), (0, 12)])
def test_it_asks_in_both_directions_alike(lost: int, won: int) -> None:
    assert mcnemar_p(lost, won) == mcnemar_p(won, lost)


def test_more_lost_images_speak_more_clearly() -> None:
    found = [mcnemar_p(lost, 5) for lost in range(5, 60)]
    assert found == sorted(found, reverse=True)


def test_thousands_of_images_overflow_nothing() -> None:
    assert mcnemar_p(2500, 2500) == 1.0
    assert 0.0 < mcnemar_p(5000, 0) < 1e-300
    assert mcnemar_p(550, 450) == pytest.approx(0.001735, rel=0.01)  # z = (100 - 1) / sqrt(1000) = 3.1307


@pytest.mark.parametrize(("lost", "won"), [(-1, 0), (0, -1)])
def test_negative_counts_are_refused(lost: int, won: int) -> None:
    with pytest.raises(ValueError, match="lost"):
        mcnemar_p(lost, won)
