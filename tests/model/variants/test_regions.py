"""Pieces and groups of windows against the regions that loops over tokens find."""

from __future__ import annotations

import numpy as np
import pytest

from swin_deploy.model.geometry import BlockGeometry
from swin_deploy.model.variants.regions import groups, pieces
from tests.model.variants.cases import GEOMETRIES
from tests.model.variants.naive import regions

ALL = {**GEOMETRIES, "many_windows": BlockGeometry((24, 24), (4, 4), (2, 2))}


def wanted(geometry: BlockGeometry, real: bool) -> set[frozenset[int]]:
    """Each region as the positions of its tokens in the window-ordered stream."""
    found = set()
    for number, window in enumerate(regions(geometry)):
        for tokens in window:
            places = [token.place for token in tokens if not real or token.where is not None]
            found.add(frozenset(number * geometry.tokens + place for place in places))
    return found - {frozenset()}


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("geometry", ALL.values(), ids=ALL)
def test_pieces_are_the_regions_each_once(geometry: BlockGeometry, real: bool) -> None:
    rows = [row for piece in pieces(geometry, real=real) for row in piece.positions]
    assert {frozenset(row.tolist()) for row in rows} == wanted(geometry, real)
    assert len(rows) == len(wanted(geometry, real))
    for piece in pieces(geometry, real=real):
        assert (piece.positions % geometry.tokens == piece.tokens).all()


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("geometry", ALL.values(), ids=ALL)
def test_groups_hold_each_window_once_with_its_regions(geometry: BlockGeometry, real: bool) -> None:
    found = groups(geometry, real=real)
    assert sorted(np.concatenate([group.windows for group in found]).tolist()) == list(range(geometry.windows))
    seen = set()
    for group in found:
        assert group.members.shape[1] <= 4
        for row, number in enumerate(group.windows):
            for region in group.members[0 if group.whole else row]:
                seen.add(frozenset((number * geometry.tokens + np.flatnonzero(region)).tolist()))
    assert seen - {frozenset()} == wanted(geometry, real)
