"""Moves change where a linear's input lies, and nothing that the graph computes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, checker, load, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from calib.tools.problem import Move, Place
from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends.onnxruntime import outputs_of, tensors_of
from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Backbone
from swin_deploy.model.fold import fold
from swin_deploy.model.forms import save_deployment
from swin_deploy.onnx_graph.input_groups import InputGroup, input_groups
from swin_deploy.onnx_graph.linears import linears, quantizable
from swin_deploy.onnx_graph.move_inputs import EXPLICIT_SUFFIX, move_inputs, representable
from swin_deploy.onnx_graph.typing_pass import type_graph
from swin_deploy.stages.export import Export
from swin_deploy.stages.simplify import Simplify
from tests.chain import Chain, decibels, random_images
from tests.random_swin import random_reference, small_spec

Moves = dict[str, tuple[InputGroup, Move]]


def moves_of(model: ModelProto, places: Iterable[Place] = Place, *, shift: float = 1.0, seed: int = 0) -> Moves:
    """A random move, neither small nor alike for two channels, of every block linear's input at these places."""
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    generator, found = np.random.default_rng(seed), {}
    for group in input_groups(model, quantizable(model)):
        channels = shapes[group.linears[0].weight][0]
        away = shift * generator.standard_normal(channels).astype(np.float32)
        scale = np.exp2(generator.uniform(-2, 2, channels)).astype(np.float32)
        if group.place in places:
            found[group.activation] = (group, representable(Move(away, scale), group.place))
    return found


def arrays(model: ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def answers(model: ModelProto, images: np.ndarray) -> dict[str, np.ndarray]:
    return next(outputs_of(model, [images]))


@pytest.mark.parametrize("place", [Place.NORM, Place.VALUE, Place.EXPLICIT, None])
def test_outputs_are_what_they_were_and_the_inputs_are_moved(chain: Chain, place: Place | None) -> None:
    model, images = chain.model("simplified"), random_images(3)
    moves = moves_of(model, Place if place is None else (place,))
    if place is Place.NORM and chain.family == "v2":
        assert not moves  # its norms stand behind the branches
        return
    assert moves
    moved = move_inputs(model, moves)
    checker.check_model(moved, full_check=True)
    assert decibels(answers(moved, images)["logits"], answers(model, images)["logits"]) > 100
    # What each linear reads is what the move says.
    now = {linear.module: linear for linear in linears(moved)}
    (before,) = tensors_of(model, list(moves), [images])
    (after,) = tensors_of(moved, [now[group.name].activation for group, _ in moves.values()], [images])
    for tensor, (group, move) in moves.items():
        wanted = (before[tensor] - move.shift) / move.scale
        assert decibels(after[now[group.name].activation], wanted) > 90
        assert decibels(before[tensor], wanted) < 20  # the control: it was another tensor


@pytest.mark.parametrize("place", [Place.NORM, Place.VALUE, Place.EXPLICIT])
def test_a_move_that_nothing_takes_back_would_be_seen(v1: Chain, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from swin_deploy.onnx_graph import move_inputs as module

    monkeypatch.setattr(module._Editor, "take_back", lambda *_: None)
    model, images = v1.model("simplified"), random_images(3)
    moved = move_inputs(model, moves_of(model, (place,)))
    assert decibels(answers(moved, images)["logits"], answers(model, images)["logits"]) < 30


def test_moves_by_norm_and_value_add_no_node_and_explicit_ones_at_most_two_a_linear(chain: Chain) -> None:
    model = chain.model("simplified")
    for places in ((Place.NORM, Place.VALUE), (Place.EXPLICIT,)):
        moves = moves_of(model, places)
        more = len(move_inputs(model, moves).graph.node) - len(model.graph.node)
        assert more == (2 * len(moves) if Place.EXPLICIT in places else 0)


def test_the_model_that_was_given_is_left_as_it_is(v1: Chain) -> None:
    model = v1.model("simplified")
    before = model.SerializeToString()
    move_inputs(model, moves_of(model))
    assert model.SerializeToString() == before


# By hand, on graphs of a few nodes

NORMS = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 2] x) => (float[N, 2] y, float[N, 2] z)
<float[2] g = {1.0, 2.0}, float[2] h = {0.5, 0.25}, float[2, 2] w = {1.0, 2.0, 3.0, 4.0}, float[2] b = {1.0, 2.0}>
{
    n = LayerNormalization(x, g, h)
    p = MatMul(n, w)
    y = Add(p, b)
    m = LayerNormalization(x, g, h)
    q = MatMul(m, w)
    z = Add(q, b)
}
"""
X = np.array([[1.0, 2.0], [-3.0, 5.0], [0.5, 0.25]], np.float32)
MOVE = Move(np.array([0.5, -2.0], np.float32), np.array([4.0, 0.25], np.float32))


def parsed(text: str = NORMS, names: dict[str, str] | None = None) -> ModelProto:
    model = parser.parse_model(text)
    for node in model.graph.node:
        node.name = (names or {}).get(node.output[0], f"{node.output[0]}/{node.op_type}")
    return model


def computed(model: ModelProto) -> list[np.ndarray]:
    checker.check_model(model, full_check=True)
    return list(ReferenceEvaluator(model).run(None, {"x": X}))


def moves_for(model: ModelProto, count: int, move: Move = MOVE) -> Moves:
    return {group.activation: (group, move) for group in input_groups(model, list(linears(model))[:count])}


@pytest.mark.parametrize("count", [1, 2])
def test_constants_that_two_norms_and_two_linears_share_are_not_spoiled_for_the_other(count: int) -> None:
    model = parsed()
    moves = moves_for(model, count)
    assert {group.place for group, _ in moves.values()} == {Place.NORM}
    moved = move_inputs(model, moves)
    for got, wanted in zip(computed(moved), computed(model), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    untouched = {"g", "h", "w", "b"} if count == 1 else set()
    assert untouched == {"g", "h", "w", "b"} & set(arrays(moved))


def test_two_norms_of_one_module_that_is_called_twice_get_their_own_moves() -> None:
    model = parsed(names={"n": "norm/LayerNormalization", "m": "norm/LayerNormalization_2"})
    moves = moves_for(model, 2)
    second = list(moves)[1]
    other = Move(np.array([-1.0, 3.0], np.float32), np.array([0.5, 8.0], np.float32))
    moves[second] = (moves[second][0], other)
    for got, wanted in zip(computed(move_inputs(model, moves)), computed(model), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_a_norm_without_a_shift_gets_one() -> None:
    model = parsed(NORMS.replace("n = LayerNormalization(x, g, h)", "n = LayerNormalization(x, g)"))
    moved = move_inputs(model, moves_for(model, 1))
    assert len(moved.graph.node[0].input) == 3
    for got, wanted in zip(computed(moved), computed(model), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("producer", ["LayerNormalization(x, g, h)", "Relu(x)"])
def test_a_linear_without_a_bias_is_scaled_and_cannot_be_shifted(producer: str) -> None:
    text = NORMS.replace("y = Add(p, b)", "y = Relu(p)").replace("n = LayerNormalization(x, g, h)", f"n = {producer}")
    model = parsed(text)
    scaled = Move(np.zeros(2, np.float32), MOVE.scale)
    for got, wanted in zip(computed(move_inputs(model, moves_for(model, 1, scaled))), computed(model), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    with pytest.raises(AssertionError, match="a shift needs a bias"):
        move_inputs(model, moves_for(model, 1))


def test_an_explicit_move_leaves_out_what_would_change_nothing_and_other_readers_alone() -> None:
    text = NORMS.replace("LayerNormalization(x, g, h)", "Relu(x)", 1).replace("z = Add(q, b)", "z = Add(q, n)")
    model = parsed(text)
    zeros, ones = np.zeros(2, np.float32), np.ones(2, np.float32)
    for move, kinds in (
        (MOVE, ["Add", "Mul"]),
        (Move(MOVE.shift, ones), ["Add"]),
        (Move(zeros, MOVE.scale), ["Mul"]),
    ):
        moved = move_inputs(model, moves_for(model, 1, move))
        extra = [node for node in moved.graph.node if node.name.rsplit("/", 1)[0].endswith(EXPLICIT_SUFFIX)]
        assert [node.op_type for node in extra] == kinds
        assert extra[0].input[0] == "n"
        for got, wanted in zip(computed(moved), computed(model), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_an_explicit_move_is_rounded_to_what_fp16_holds_and_the_others_are_not() -> None:
    move = Move(np.array([0.1, 3.3], np.float32), np.array([0.3, 7.7], np.float32))
    rounded = representable(move, Place.EXPLICIT)
    for constant in (rounded.shift, np.float32(1) / rounded.scale):
        np.testing.assert_allclose(constant, constant.astype(np.float16), rtol=1e-7)
    np.testing.assert_allclose(rounded.scale, move.scale, rtol=1e-3)
    assert (rounded.scale != move.scale).any()
    for place in (Place.NORM, Place.VALUE):
        assert representable(move, place) is move


def test_explicit_nodes_are_typed_fp16_and_no_cast_stands_between_them(chain: Chain) -> None:
    model = chain.model("simplified")
    moves = moves_of(model, (Place.EXPLICIT,), shift=0.1)
    plain, typed = (type_graph(graph, half="fp16") for graph in (model, move_inputs(model, moves)))

    def casts(graph: ModelProto) -> int:
        return sum(node.op_type == "Cast" for node in graph.graph.node)

    assert casts(typed) == casts(plain)
    held = arrays(typed)
    extra = [node for node in typed.graph.node if node.name.rsplit("/", 1)[0].endswith(EXPLICIT_SUFFIX)]
    assert len(extra) == 2 * len(moves)
    for node in extra:
        assert held[node.input[1]].dtype == np.float16
    # The constants are to the bit those that the weights were moved by.
    for group, move in moves.values():
        np.testing.assert_array_equal(held[f"{group.stem}.offset.fp16"], (-move.shift).astype(np.float16))
        np.testing.assert_allclose(1 / held[f"{group.stem}.factor.fp16"].astype(np.float32), move.scale, rtol=1e-6)


# Padding, and attention behind a gate


def graph_of(spec: SwinSpec, folder: Path) -> ModelProto:
    save_deployment(fold(random_reference(spec)), folder / "deployment.safetensors")
    form = Artifact("deployment", folder / "deployment.safetensors", Format.DEPLOYMENT, Precision.FP32)
    Export(4).run(form, folder / "exported.onnx")
    exported = replace(form, name="exported", path=folder / "exported.onnx", format=Format.ONNX)
    Simplify().run(exported, folder / "fp32.onnx")
    return load(folder / "fp32.onnx")


def test_padded_tokens_are_no_matter_to_a_move(tmp_path: Path) -> None:
    """Padding is zero where it is put in: between norm and qkv, so that the norm cannot move what qkv reads."""
    padded = SwinSpec(
        "v1", (20, 24), 2, 3, (StageSpec(2, 16, 2, (7, 7), 32),), Backbone((0,), norms=True), rule="microsoft-dense"
    )
    model = graph_of(padded, tmp_path)
    moves = moves_of(model)
    places = {group.name: group.place for group, _ in moves.values()}
    assert places["blocks.0.attn.qkv"] is Place.EXPLICIT
    assert (places["blocks.0.attn.proj"], places["blocks.0.mlp.0"]) == (Place.VALUE, Place.NORM)
    images = np.random.default_rng(0).standard_normal((2, 3, 20, 24)).astype(np.float32)
    wanted, got = (answers(graph, images)["stage0"] for graph in (model, move_inputs(model, moves)))
    assert decibels(got, wanted) > 100


def test_behind_a_gate_the_projection_is_moved_explicitly_and_the_outputs_stay(tmp_path: Path) -> None:
    spec = small_spec("v1", image_size=(16, 16), window=4, depths=(2,), heads=(2,), attention="channel-gate")
    model = graph_of(spec, tmp_path)
    moves = moves_of(model)
    places = {group.name: group.place for group, _ in moves.values()}
    projections = {name: place for name, place in places.items() if name.endswith("proj")}
    assert list(projections.values()) == [Place.EXPLICIT] * 2
    images = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
    wanted, got = (answers(graph, images)["logits"] for graph in (model, move_inputs(model, moves)))
    assert decibels(got, wanted) > 100
