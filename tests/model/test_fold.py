"""The deployment form is the paper form: compared in FP64 and FP32, looked at as a graph, and spoiled on purpose."""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from swin_deploy.checkpoint.load import load_checkpoint
from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.errors import BadInput
from swin_deploy.model import fold as fold_module
from swin_deploy.model.deployment import DeploymentSwin, additive_constants
from swin_deploy.model.fold import PROOF_BOUND, FoldProof, fold, prove
from swin_deploy.model.forms import open_deployment, open_reference, save_deployment, save_reference
from swin_deploy.model.layout import token_layout
from swin_deploy.model.reference import WindowAttentionV2
from swin_deploy.torch_versions import export_program
from tests.random_swin import random_images, random_reference, relative_error, small_spec

# V2's logit scales stay near ln(10) except for one head a block beyond the clamp (see random_swin): with all of them
# there, two exact orders of operation differ by 1e-5 in FP32 and a bound of 1e-5 would judge neither form.
SPECS = {
    "v1": small_spec("v1"),
    "v2": small_spec("v2"),
    "v1-three_stages": small_spec("v1", image_size=(56, 56), depths=(2, 3, 2), heads=(2, 4, 8)),
    "v2-wide_image-other_pretrained_window": small_spec(
        "v2", image_size=(56, 112), patch=4, pretrained=((12, 12), (6, 6))
    ),
    "v1-single_windows": small_spec("v1", image_size=(12, 12), window=6),
    "v2-last_stage_of_one_token": small_spec("v2", image_size=(4, 4), window=2),
}
# Everything that a folded graph may do. No roll, index, where, arange, sigmoid, log2, exp, relu, cat, slice, expand or
# comparison: those would be the mask, the bias lookup, the bias MLP or the coordinates.
ALLOWED = {
    "aten.conv2d.default",
    "aten.flatten.using_ints",
    "aten.layer_norm.default",
    "aten.index_select.default",
    "aten.linear.default",
    "aten.reshape.default",
    "aten.permute.default",
    "aten.transpose.int",
    "aten.unbind.int",
    "aten.matmul.default",
    "aten.add.Tensor",
    "aten.softmax.int",
    "aten.gelu.default",
    "aten.mean.dim",
    "aten.to.dtype",  # images in and logits out are FP32 in every form
    "aten._assert_tensor_metadata.default",
    "<built-in function getitem>",
}
COSINE = {
    "aten.linalg_vector_norm.default",
    "aten.clamp_min.default",
    "aten.div.Tensor",
    "aten.mul.Tensor",
    "aten.slice.Tensor",  # query and key together, and the value
    "aten.squeeze.dim",
}


@pytest.fixture(params=SPECS)
def spec(request: pytest.FixtureRequest) -> SwinSpec:
    return SPECS[request.param]


def operators(model: nn.Module, spec: SwinSpec) -> Counter[str]:
    graph = export_program(model, spec.image_size, 4, "cpu").graph
    return Counter(str(node.target) for node in graph.nodes if node.op == "call_function")


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@torch.no_grad()
def test_the_deployment_form_is_the_paper_form(spec: SwinSpec, dtype: torch.dtype, bound: float, affine: bool) -> None:
    model = random_reference(spec).to(dtype)
    folded = fold(model, affine=affine)
    assert folded.head.weight.dtype == dtype
    assert not folded.training
    for batch in (1, 2, 7):
        images = random_images(spec, batch, seed=batch).to(dtype)
        assert relative_error(folded(images), model(images)) <= bound


def test_the_proof_holds(spec: SwinSpec) -> None:
    for affine in (False, True):
        proof = prove(random_reference(spec), affine=affine)
        assert proof.holds
        assert proof.relative_error <= 1e-10
        assert proof.images == 2


def test_the_paper_form_is_left_as_it_was() -> None:
    model = random_reference(small_spec("v1"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fold(model, affine=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_affine_leaves_unit_norms_in_v1_and_changes_nothing_in_v2() -> None:
    v1: Any = fold(random_reference(small_spec("v1")), affine=True)
    for block in v1.blocks:
        for norm in (block.norm1, block.norm2):
            assert (norm.weight == 1).all()
            assert not norm.bias.any()
    assert not (v1.patch_embed.norm.weight == 1).all()  # its output is the residual stream, not a linear's input

    model = random_reference(small_spec("v2"))
    plain, asked = fold(model).state_dict(), fold(model, affine=True).state_dict()
    assert all(torch.equal(tensor, asked[name]) for name, tensor in plain.items())


def test_the_graph_does_nothing_but_permute_add_constants_and_calculate(spec: SwinSpec) -> None:
    found = operators(fold(random_reference(spec)), spec)
    assert set(found) <= (ALLOWED | COSINE if spec.family == "v2" else ALLOWED)
    layout = token_layout(spec)
    twice = sum(block.leaving is not None for block in layout.blocks)  # the residual and what is added to it
    assert found["aten.index_select.default"] == layout.permutations + twice
    assert found["aten.layer_norm.default"] == 2 * spec.depth + len(spec.stages) + 1


def test_the_same_look_at_the_paper_form_finds_what_must_be_gone() -> None:
    for family, gone in (("v1", {"aten.roll.default", "aten.index.Tensor"}), ("v2", {"aten.sigmoid.default"})):
        spec = SPECS[family]
        assert gone <= set(operators(random_reference(spec), spec)) - ALLOWED - COSINE


def test_each_block_adds_one_constant_and_it_is_the_only_one(spec: SwinSpec) -> None:
    folded = fold(random_reference(spec))
    program = export_program(folded, spec.image_size, 4, "cpu")
    buffers = program.graph_signature.inputs_to_buffers
    added = [
        buffers[argument.name]
        for node in program.graph.nodes
        if str(node.target) == "aten.add.Tensor"
        for argument in node.args
        if getattr(argument, "name", None) in buffers
    ]
    assert added == [f"blocks.{number}.attn.constant" for number in range(spec.depth)]
    assert len(additive_constants(folded)) == spec.depth
    for (stage, block), constant in zip(spec.blocks(), additive_constants(folded), strict=True):
        geometry = spec.geometry(stage, block)
        leading = geometry.windows if geometry.shifted else 1
        assert constant.shape == (leading, spec.stages[stage].heads, geometry.tokens, geometry.tokens)


def test_the_graph_keeps_its_batch_free() -> None:
    spec = small_spec("v2")
    folded = fold(random_reference(spec))
    with warnings.catch_warnings():
        # Turning a program back into a module complains of the index buffers, which no gradient concerns.
        warnings.simplefilter("ignore", UserWarning)
        program = export_program(folded, spec.image_size, 8, "cpu").module()
    for batch in (1, 2, 7):
        images = random_images(spec, batch).float()
        assert relative_error(program(images), folded(images)) <= 1e-6


def test_the_constants_by_hand() -> None:
    # V1: the table's row of each offset, plus -100 where the shifted window wraps.
    spec = small_spec("v1", image_size=(8, 4), patch=1, depths=(2,), heads=(2,), window=4)
    model: Any = random_reference(spec)
    table = model.stages[0].blocks[1].attn.relative_position_bias_table
    constant = additive_constants(fold(model))[1]
    assert constant.shape == (2, 2, 16, 16)  # shifted along the height alone: the width is one window
    # Tokens 0 (row 0) and 6 (row 1, column 2): offset (-1, -2), row (-1 + 3) * 7 + (-2 + 3) of the table.
    assert torch.equal(constant[0, :, 0, 6], table[2 * 7 + 1])
    assert torch.equal(constant[1, :, 0, 6], table[2 * 7 + 1])
    # Tokens 4 (row 1) and 8 (row 2): the last window wraps after its first two rows.
    assert torch.equal(constant[0, :, 4, 8], table[2 * 7 + 3])
    assert torch.allclose(constant[1, :, 4, 8], table[2 * 7 + 3] - 100.0)


def test_v1s_scale_stands_in_the_query_and_v2s_in_a_clamped_factor() -> None:
    model: Any = random_reference(small_spec("v1"))
    folded: Any = fold(model)
    before, after = model.stages[0].blocks[0].attn.qkv, folded.blocks[0].attn.qkv
    # Heads of 8 channels have 8 zero channels more: [3, heads, 16, channels].
    theirs, ours = before.weight.reshape(3, 2, 8, 16), after.weight.reshape(3, 2, 16, 16)
    assert torch.allclose(ours[0, :, :8], theirs[0] / math.sqrt(8))
    assert torch.allclose(after.bias.reshape(3, 2, 16)[0, :, :8], before.bias.reshape(3, 2, 8)[0] / math.sqrt(8))
    assert torch.equal(ours[1:, :, :8], theirs[1:])
    assert not ours[:, :, 8:].any() and not after.bias.reshape(3, 2, 16)[:, :, 8:].any()

    folded = fold(random_reference(small_spec("v2")))
    scale, ones = folded.blocks[0].attn.logit_scale  # the query's, the key's, each [heads, 1]
    assert (ones == 1).all()
    assert scale.max().item() == pytest.approx(100.0, rel=1e-6)
    assert scale.min().item() < 40.0


def spoiled_by_one_constant(bias: Tensor, mask: Tensor | None) -> Tensor:
    whole = (bias[None] if mask is None else bias[None] + mask[:, None]).clone()
    whole[0, 0, 0, -1] += 1e-3
    return whole


def spoiled_by_swapped_heads(bias: Tensor, mask: Tensor | None) -> Tensor:
    return bias.flip(0)[None] if mask is None else bias.flip(0)[None] + mask[:, None]


def spoiled_by_swapped_queries_and_keys(bias: Tensor, mask: Tensor | None) -> Tensor:
    bias = bias.transpose(1, 2)
    return bias[None] if mask is None else bias[None] + mask[:, None]


def spoiled_by_a_lost_mask(bias: Tensor, mask: Tensor | None) -> Tensor:
    return bias[None] if mask is None else bias[None] + 0.0 * mask[:, None]


@pytest.mark.parametrize("family", ["v1", "v2"])
@pytest.mark.parametrize(
    "spoiled",
    [
        spoiled_by_one_constant,
        spoiled_by_swapped_heads,
        spoiled_by_swapped_queries_and_keys,
        spoiled_by_a_lost_mask,
    ],
)
def test_the_proof_fails_when_a_constant_is_spoiled(
    monkeypatch: pytest.MonkeyPatch, family: str, spoiled: Callable[[Tensor, Tensor | None], Tensor]
) -> None:
    monkeypatch.setattr(fold_module, "_constant", spoiled)
    proof = prove(random_reference(SPECS[family]))
    assert not proof.holds
    assert proof.relative_error > 100 * PROOF_BOUND


@pytest.mark.parametrize("family", ["v1", "v2"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_proof_fails_when_a_permutation_is_spoiled(
    monkeypatch: pytest.MonkeyPatch, family: str, number: int
) -> None:
    class Spoiled(DeploymentSwin):
        def __init__(self, spec: SwinSpec) -> None:
            super().__init__(spec)
            orders: list[Any] = [self.patch_embed.order]
            orders += [block.permutation for block in self.blocks] + [block.leaving for block in self.blocks]
            permutation = [order for order in orders if order is not None][number]
            permutation[[0, 9]] = permutation[[9, 0]]

    monkeypatch.setattr(fold_module, "build_deployment", Spoiled)
    assert not prove(random_reference(SPECS[family])).holds


def test_the_proof_fails_when_the_clamp_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_reference(SPECS["v2"])
    folded = fold(model.double())
    monkeypatch.setattr(WindowAttentionV2, "factor", lambda self: self.logit_scale.exp())
    unclamped = fold(model)
    monkeypatch.undo()
    images = random_images(SPECS["v2"], 2)
    with torch.no_grad():
        assert relative_error(folded(images), model(images)) <= PROOF_BOUND
        assert relative_error(unclamped(images), model(images)) > 100 * PROOF_BOUND


def test_the_proof_fails_when_v1s_scale_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fold_module._fold_block

    def without_scale(block: Any, folded: Any) -> None:
        whole(block, folded)
        folded.attn.qkv.weight[:32] *= block.attn.scale**-1

    monkeypatch.setattr(fold_module, "_fold_block", without_scale)
    assert not prove(random_reference(SPECS["v1"])).holds


def test_a_proof_that_is_not_a_number_does_not_hold() -> None:
    assert not FoldProof(math.nan, 2).holds
    assert not FoldProof(math.inf, 2).holds
    assert FoldProof(PROOF_BOUND, 2).holds


@pytest.mark.parametrize("name", ["head.weight", "head.bias"])
def test_a_proof_on_outputs_that_are_no_numbers_does_not_hold(name: str) -> None:
    model = random_reference(SPECS["v1"])
    model.state_dict()[name].fill_(math.nan)
    assert prove(model).relative_error == math.inf


def test_a_proof_on_outputs_that_are_all_zero_holds_for_the_same_zeros_only() -> None:
    model = random_reference(SPECS["v1"])
    model.head.weight.data.zero_()
    model.head.bias.data.zero_()
    assert prove(model).relative_error == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", ["v1", "v2"])
def test_a_saved_deployment_form_comes_back_bit_for_bit(tmp_path: Path, family: str, dtype: torch.dtype) -> None:
    spec = SPECS[family]
    folded = fold(random_reference(spec)).to(dtype)
    save_deployment(folded, tmp_path / "folded.safetensors")
    again = open_deployment(tmp_path / "folded.safetensors")
    assert again.spec == spec
    assert not again.training
    for name, tensor in folded.state_dict().items():
        assert again.state_dict()[name].dtype == dtype
        assert torch.equal(again.state_dict()[name], tensor)
    images = random_images(spec, 2).float()
    with torch.no_grad():
        assert torch.equal(again(images), folded(images))
        assert again(images).dtype == torch.float32


def test_a_saved_paper_form_comes_back_bit_for_bit(tmp_path: Path) -> None:
    for family in ("v1", "v2"):
        model = random_reference(SPECS[family])
        save_reference(model, tmp_path / "paper.safetensors")
        again = open_reference(tmp_path / "paper.safetensors")
        assert again.spec == model.spec
        assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())


def tampered(path: Path, change: Callable[[dict[str, Tensor], dict[str, str]], None]) -> None:
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
    change(tensors, metadata)
    save_file(tensors, path, metadata=metadata)


def respec(metadata: dict[str, str], **changes: Any) -> None:
    metadata["spec"] = json.dumps({**json.loads(metadata["spec"]), **changes})


DAMAGE: dict[str, Callable[[dict[str, Tensor], dict[str, str]], Any]] = {
    "no form": lambda tensors, metadata: metadata.pop("form"),
    "another form": lambda tensors, metadata: metadata.update(form="something"),
    "no spec": lambda tensors, metadata: metadata.pop("spec"),
    "broken spec": lambda tensors, metadata: metadata.update(spec="{"),
    "a spec of another version": lambda tensors, metadata: respec(metadata, novelty=1),
    "a missing tensor": lambda tensors, metadata: tensors.pop("head.weight"),
    "an extra tensor": lambda tensors, metadata: tensors.update(more=torch.zeros(1)),
    "a mis-shaped tensor": lambda tensors, metadata: tensors.update({"head.bias": torch.zeros(1)}),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("form", ["paper", "deployment"])
def test_a_tampered_artifact_is_unusable_input(
    tmp_path: Path, form: str, change: Callable[[dict[str, Tensor], dict[str, str]], None]
) -> None:
    path = tmp_path / "artifact.safetensors"
    model = random_reference(SPECS["v1"])
    if form == "paper":
        save_reference(model, path)
    else:
        save_deployment(fold(model), path)
    tampered(path, change)
    with pytest.raises(BadInput) as error:
        open_reference(path) if form == "paper" else open_deployment(path)
    assert str(path) in error.value.seen
    assert error.value.needed
    assert error.value.exit_code == 5


@pytest.mark.parametrize("opened", [open_reference, open_deployment])
def test_a_truncated_or_missing_artifact_is_unusable_input(tmp_path: Path, opened: Callable[[Path], Any]) -> None:
    model = random_reference(SPECS["v1"])
    path = tmp_path / "artifact.safetensors"
    (save_reference if opened is open_reference else save_deployment)(
        model if opened is open_reference else fold(model),
        path,
    )
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInput, match="artifact"):
        opened(path)
    with pytest.raises(BadInput, match="absent"):
        opened(tmp_path / "absent.safetensors")


def test_one_form_is_not_opened_as_the_other(tmp_path: Path) -> None:
    model = random_reference(SPECS["v1"])
    save_reference(model, tmp_path / "paper.safetensors")
    save_deployment(fold(model), tmp_path / "folded.safetensors")
    with pytest.raises(BadInput, match="deployment form"):
        open_deployment(tmp_path / "paper.safetensors")
    with pytest.raises(BadInput, match="paper form"):
        open_reference(tmp_path / "folded.safetensors")


TRAINED = Path(__file__).parents[2] / "examples" / "cifar10" / "swin_v1_cifar10.safetensors"


@pytest.mark.skipif(not TRAINED.exists(), reason="the example's trained weights are not in this checkout")
@torch.no_grad()
def test_trained_weights_fold_as_exactly_as_random_ones() -> None:
    model = load_checkpoint(TRAINED).reference()
    assert prove(model).relative_error <= 1e-10
    folded = fold(model)
    for batch in (1, 2, 7):
        images = random_images(model.spec, batch, seed=batch).float()
        assert relative_error(folded(images), model(images)) <= 1e-5
