"""The toolbox: names, order, what is refused, and the whole way of a linear on either grid."""

from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest

from calib.errors import BadData
from calib.grid import E4M3, GRIDS, INT8, fake_quantize, fp16_step
from calib.tools.problem import LinearProblem, output_sqnr_db
from calib.tools.rounding import Nearest
from calib.tools.step import METHODS, ChooseStep
from calib.tools.toolbox import DEFAULT_TOOLS, TOOLS, choose_moves, finish, require_tools
from tests.linear_problem import linear_problem, output_error

ORDER = ["smoothquant", "repq", "balance", "reconstruct", "bias"]
SUBSETS = list(chain.from_iterable(combinations(ORDER, count) for count in range(6)))


def problem(grid: str = "int8", method: str = "output") -> LinearProblem:
    """Correlated channels with an offset and an outlier: every tool has something to do."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((600, 24)) + random.standard_normal((600, 1)) + 1
    rows[:, 5] *= 12
    weight = random.standard_normal((24, 10)) / 5
    return linear_problem(rows, weight, random.standard_normal(10), grid=GRIDS[grid], method=method)


def test_the_tools_stand_in_the_order_in_which_they_work() -> None:
    assert list(TOOLS) == ORDER
    assert all(tool.name == name for name, tool in TOOLS.items())
    with pytest.raises(TypeError):
        TOOLS["mine"] = TOOLS["bias"]  # type: ignore[index]


def test_the_default_tools_exist() -> None:
    require_tools(DEFAULT_TOOLS)
    assert list(DEFAULT_TOOLS) == [name for name in ORDER if name in DEFAULT_TOOLS]


def test_an_unknown_tool_is_refused_by_name() -> None:
    require_tools([])
    require_tools(ORDER)
    with pytest.raises(BadData, match=r"no INT8 tool magic, more.*smoothquant, repq, balance"):
        require_tools(["more", "bias", "magic"])


@pytest.mark.parametrize("tools", SUBSETS, ids=lambda tools: "+".join(tools) or "none")
def test_any_choice_of_tools_works_in_order_whatever_the_order_of_their_names(tools: tuple[str, ...]) -> None:
    solved = finish(choose_moves(problem(), tools[::-1]), tools[::-1])
    done = [trial.tool for trial in solved.trials]
    assert done == [name for name in ORDER[:3] if name in tools] + ["step"] + [
        name for name in ORDER[3:] if name in tools
    ]
    assert solved.step is not None and solved.rounded is not None and solved.weight_step is not None


def test_with_no_tools_the_input_stays_and_weights_go_to_the_nearest() -> None:
    start = problem()
    solved = finish(choose_moves(start, ()), ())
    plain = Nearest()(ChooseStep()(start))
    assert solved.move is None and solved.correction is None and solved.step == plain.step
    np.testing.assert_array_equal(solved.rounded, plain.rounded)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grid", ["int8", "fp8"])
def test_the_whole_way_stays_on_the_grid_and_is_better_than_none(grid: str, method: str) -> None:
    start = problem(grid, method)
    solved = finish(choose_moves(start, DEFAULT_TOOLS), DEFAULT_TOOLS)
    codes = solved.rounded / solved.weight_step
    np.testing.assert_allclose(solved.grid.round(codes), codes, rtol=1e-6)
    np.testing.assert_array_equal(solved.weight_step, fp16_step(solved.weight_step))
    assert solved.step == fp16_step(solved.step)
    assert output_sqnr_db(solved) > output_sqnr_db(finish(start, ()))


def test_the_whole_way_for_fp8() -> None:
    start = problem("fp8")
    solved = finish(choose_moves(start, DEFAULT_TOOLS), DEFAULT_TOOLS)
    assert solved.grid is E4M3
    assert [trial.tool for trial in solved.trials] == ["balance", "step", "reconstruct", "bias"]
    # All codes are numbers of E4M3; those of a channel's largest weight are near 448, and INT8 has few of them.
    codes = solved.rounded / solved.weight_step
    assert 400 < np.abs(codes).max() <= 448
    assert (np.abs(INT8.round(codes) - codes) > 0.01).mean() > 0.2
    # In the unmoved linear's terms the output is right to the 25 dB and more that 3 bits of mantissa allow.
    wanted = start.sample.rows.astype(np.float64) @ start.weight + start.bias
    got = fake_quantize(solved.sample.rows, solved.step, E4M3) @ solved.rounded + solved.bias
    error = got + (0 if solved.correction is None else solved.correction) - wanted
    assert 10 * np.log10(np.square(wanted - wanted.mean(axis=0)).sum() / np.square(error).sum()) > 25
    assert np.abs(error.mean(axis=0)).max() < 1e-3 * wanted.std()


def test_observed_magnitudes_reach_the_step() -> None:
    start = problem(method="percentile")
    assert finish(start, (), {"x": 12.7}).step == fp16_step(0.1)


def test_tools_lower_the_output_error_of_the_unmoved_linear() -> None:
    start = problem()
    errors = {}
    for tools in ((), ("balance",), ("balance", "reconstruct"), DEFAULT_TOOLS):
        solved = finish(choose_moves(start, tools), tools)
        got = fake_quantize(solved.sample.rows, solved.step) @ solved.rounded
        moved_bias = solved.bias - start.bias  # what the bias takes of the shift
        got = got + moved_bias + (0 if solved.correction is None else solved.correction)
        errors[tools] = output_error(start, got, centred=False)
    found = list(errors.values())
    assert found == sorted(found, reverse=True) and found[-1] < found[0] / 4
