"""Two halves of the evaluation images."""

from __future__ import annotations

import pytest

from calib.errors import BadData
from calib.halves import halves


@pytest.mark.parametrize("count", [2, 3, 10, 101])
def test_the_halves_hold_every_image_once(count: int) -> None:
    for labels in (None, [index % 3 for index in range(count)]):
        selection, report = halves(count, 0, labels)
        assert sorted(selection + report) == list(range(count))
        assert len(selection) - len(report) == count % 2


def test_each_class_is_divided_evenly_also_where_classes_are_odd_and_uneven() -> None:
    labels = [0] * 7 + [1] * 5 + [2] * 30 + [3]
    selection, report = halves(len(labels), 3, labels)
    for label in range(4):
        one, other = (sum(labels[index] == label for index in half) for half in (selection, report))
        assert abs(one - other) <= 1


def test_without_labels_nothing_balances_sorted_classes() -> None:
    labels = [0] * 50 + [1] * 50
    uneven = [sum(labels[index] == 0 for index in halves(100, seed, None)[0]) != 25 for seed in range(20)]
    assert any(uneven)


def test_the_seed_alone_chooses_the_halves() -> None:
    labels = [index % 10 for index in range(100)]
    assert halves(100, 1, labels) == halves(100, 1, labels)
    assert halves(100, 1, labels) != halves(100, 2, labels)
    assert halves(6, 0, None) == ((0, 1, 5), (2, 3, 4))  # SHA-256: the same on any machine


@pytest.mark.parametrize(("count", "labels"), [(1, None), (0, []), (3, [0, 1])])
def test_what_cannot_be_halved_is_refused(count: int, labels: list[int] | None) -> None:
    with pytest.raises(BadData):
        halves(count, 0, labels)
