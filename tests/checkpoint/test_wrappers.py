"""The state_dict in its wrappers, in memory: which is taken, under which names, and what is said of it."""

from __future__ import annotations

import collections
from typing import Any

import pytest
import torch
from torch import Tensor

from swin_deploy.checkpoint.wrappers import Weights, find_weights
from swin_deploy.errors import BadInput
from tests.checkpoint.timm_files import explained

V1 = "layers.0.blocks.0.attn.relative_position_bias_table"
V2 = "layers.0.blocks.0.attn.logit_scale"
PLAIN = {V1: torch.full((4, 2), 1.0), "head.weight": torch.full((2, 2), 1.0)}
EMA = {name: tensor + 1 for name, tensor in PLAIN.items()}
WRAPPERS = ["state_dict", "model", "model_state_dict", "net", "params"]
EMA_WRAPPERS = ["state_dict_ema", "model_ema", "params_ema", "ema_state_dict"]
MMENGINE = {"meta": {"mmengine_version": "0.10.7"}}


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def taken(content: dict[Any, Any], **options: Any) -> Weights:
    return find_weights(content, "x.pth", **options)


def refused(content: dict[Any, Any], *parts: str, **options: Any) -> str:
    with pytest.raises(BadInput) as caught:
        taken(content, **options)
    return explained(caught, "x.pth", *parts)


def same(weights: Weights, wanted: dict[str, Tensor]) -> bool:
    got = weights.tensors
    return list(got) == list(wanted) and all(torch.equal(got[name], wanted[name]) for name in wanted)


def said(weights: Weights, *parts: str) -> bool:
    return all(any(part in sentence for sentence in weights.evidence) for part in parts)


def test_a_bare_state_dict_is_taken_as_it_is() -> None:
    got = taken(PLAIN)
    assert same(got, PLAIN)
    assert got.evidence == ("the file is a state_dict itself, under no wrapper",)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_each_wrapper_is_opened_and_named(wrapper: str) -> None:
    got = taken({"epoch": 3, wrapper: PLAIN, "optimizer": {"lr": 0.1}})
    assert same(got, PLAIN)
    assert got.evidence == (f"weights under `{wrapper}`", "beside the weights and not read: epoch, optimizer")


@pytest.mark.parametrize("wrapper", ["weights", "teacher", "student", "optimizer"])
def test_a_wrapper_nobody_knows_is_refused_by_name(wrapper: str) -> None:
    refused({"epoch": 3, wrapper: PLAIN}, f"epoch, {wrapper} are no named tensor", "under one of: state_dict, model")


@pytest.mark.parametrize(("outer", "inner"), [("model", "state_dict"), ("state_dict", "model"), ("net", "params")])
def test_two_wrappers_are_opened(outer: str, inner: str) -> None:
    got = taken({"epoch": 3, outer: {inner: PLAIN, "arch": "swin"}})
    assert same(got, PLAIN)
    assert said(got, f"weights under `{outer}` > `{inner}`", "not read: epoch, arch")


def test_three_wrappers_are_refused() -> None:
    refused({"model": {"state_dict": {"net": PLAIN}}}, "under `model` > `state_dict`: net is no named tensor")


def test_the_first_of_several_plain_wrappers_is_taken_whatever_their_order_and_the_others_are_named() -> None:
    other = {"discriminator.weight": torch.zeros(1)}
    for content in ({"state_dict": PLAIN, "net": other}, {"net": other, "state_dict": PLAIN}):
        got = taken(content)
        assert same(got, PLAIN)
        assert said(got, "not read: net")


@pytest.mark.parametrize("model", [{"type": "SwinTransformer", "depths": [2, 2]}, "swin_tiny", None, {}])
def test_the_settings_of_a_model_are_not_taken_for_its_weights(model: Any) -> None:
    assert same(taken({"model": model, "params": PLAIN}), PLAIN)


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, {"model": {}, "epoch": 3}, {"model": {"params": {}}}])
def test_a_file_without_tensors_says_so(content: dict[str, Any]) -> None:
    refused(content, "holds no tensors")


@pytest.mark.parametrize(
    ("stranger", "shown"),
    [
        ({"_metadata": collections.OrderedDict()}, "_metadata is"),
        ({"epoch": 3}, "epoch is"),
        ({"a": 1, "b": None, "c": [], "d": "x"}, "a, b, c and 1 more are"),
        ({3: torch.zeros(1)}, "3 is"),
        ({"two\nlines": 1}, r"'two\nlines' is"),
    ],
)
def test_what_is_no_tensor_among_the_weights_is_named(stranger: dict[Any, Any], shown: str) -> None:
    refused({"model": {**PLAIN, **stranger}}, f"x.pth, under `model`: {shown}")
    refused({**PLAIN, **stranger}, f"x.pth: {shown}")


def test_attributes_that_hide_the_methods_of_a_dict_change_nothing() -> None:
    hidden = collections.OrderedDict(PLAIN)
    for method in ("items", "keys", "values", "get"):
        setattr(hidden, method, torch.Size)
    assert list(hidden.items()) == []  # the control: asked the ordinary way, it seems empty
    content = collections.OrderedDict(model=hidden)
    content.get = torch.Size
    assert same(taken(content), PLAIN)


# --- plain and averaged weights ---


@pytest.mark.parametrize("plain", WRAPPERS)
@pytest.mark.parametrize("averaged", EMA_WRAPPERS)
def test_where_both_are_there_ema_is_the_default_and_each_can_be_asked_for(plain: str, averaged: str) -> None:
    for content in ({plain: PLAIN, averaged: EMA}, {averaged: EMA, plain: PLAIN}):
        default, yes, no = (taken(content, ema=ema) for ema in (None, True, False))
        assert same(default, EMA)
        assert said(default, f"EMA weights under `{averaged}`", f"the plain weights under `{plain}` were not read")
        assert said(default, "since EMA is the default")
        assert same(yes, EMA)
        assert said(yes, "as asked")
        assert same(no, PLAIN)
        assert said(no, f"weights under `{plain}`", f"the EMA weights under `{averaged}` were not read, as asked")


@pytest.mark.parametrize(("wrapper", "who"), [("params_ema", "BasicSR"), ("state_dict_ema", "timm")])
def test_the_code_base_whose_default_is_followed_is_named(wrapper: str, who: str) -> None:
    assert said(taken({"state_dict": PLAIN, wrapper: EMA}), f"as in {who}")


@pytest.mark.parametrize("wrapper", EMA_WRAPPERS)
def test_ema_weights_alone_are_taken_unless_plain_ones_are_required(wrapper: str) -> None:
    got = taken({wrapper: EMA})
    assert same(got, EMA)
    assert got.evidence == (f"EMA weights under `{wrapper}`",)
    assert same(taken({wrapper: EMA}, ema=True), EMA)
    refused({wrapper: EMA}, "EMA weights only", wrapper, ema=False)


@pytest.mark.parametrize("content", [PLAIN, {"model": PLAIN}, {"state_dict": PLAIN, "state_dict_ema": None}])
def test_ema_that_is_required_and_not_there_is_missed(content: dict[str, Any]) -> None:
    refused(content, "no EMA weights", "state_dict_ema", ema=True)
    assert same(taken(content, ema=False), PLAIN)
    assert same(taken(content), PLAIN)


def test_ema_one_wrapper_deeper_is_found() -> None:
    content = {"model": {"params": PLAIN, "params_ema": EMA}}
    assert same(taken(content), EMA)
    assert same(taken(content, ema=False), PLAIN)


def test_mmengine_has_swapped_the_two_so_state_dict_is_the_average() -> None:
    kept = {"steps": torch.tensor(7), **under("module.", PLAIN)}
    for mark in (MMENGINE, {"message_hub": {}}):
        content = {**mark, "state_dict": EMA, "ema_state_dict": kept}
        default = taken(content)
        assert same(default, EMA)
        assert said(default, "EMA weights under `state_dict`: mmengine's EMAHook swaps the two")
        assert same(taken(content, ema=True), EMA)
        plain = taken(content, ema=False)
        assert same(plain, PLAIN)
        assert said(plain, "plain weights under `ema_state_dict`", "1 left out: steps", "prefix `module.` removed")
    # A third set of weights keeps the meaning of its name.
    third = taken({**MMENGINE, "ema_state_dict": kept, "model_ema": EMA})
    assert same(third, EMA)
    assert said(third, "EMA weights under `model_ema`")
    # The control: without mmengine's marks the names mean what they say.
    assert same(taken({"state_dict": PLAIN, "ema_state_dict": EMA}), EMA)


def test_mmengine_without_an_average_has_plain_weights() -> None:
    content = {**MMENGINE, "state_dict": PLAIN}
    assert same(taken(content, ema=False), PLAIN)
    refused(content, "no EMA weights", ema=True)


def test_lightning_has_swapped_the_two_where_it_averages() -> None:
    content = {"state_dict": under("model.", EMA), "current_model_state": under("model.", PLAIN), "averaging_state": {}}
    default = taken(content)
    assert same(default, EMA)
    assert said(default, "EMA weights under `state_dict`: Lightning's WeightAveraging", "`current_model_state`")
    assert same(taken(content, ema=False), PLAIN)
    # The control: without Lightning's other mark nothing says that there is an average.
    del content["averaging_state"]
    refused(content, "no EMA weights", ema=True)


# --- prefixes of keys ---


@pytest.mark.parametrize(
    "prefix",
    [
        "module.", "_orig_mod.", "model.", "net.", "module.module.", "_orig_mod.module.", "module._orig_mod.",
        "model._orig_mod.", "model.net.module._orig_mod.",
    ],
)  # fmt: skip
def test_a_prefix_of_every_key_is_removed_and_named(prefix: str) -> None:
    got = taken({"state_dict": under(prefix, PLAIN)})
    assert same(got, PLAIN)
    assert got.evidence[1:] == (f"prefix `{prefix}` removed from all 2 keys",)


@pytest.mark.parametrize("prefix", ["backbone.", "swin.", "swinv2.", "student.", "teacher.", "encoder.", "modules."])
def test_prefixes_of_layouts_and_of_choices_stay(prefix: str) -> None:
    for outer in ("", "module."):
        assert same(taken(under(outer + prefix, PLAIN)), under(prefix, PLAIN))


@pytest.mark.parametrize("prefix", ["ema.", "ema_model.", "ema_model.module.", "module.ema."])
def test_a_prefix_of_averages_makes_them_ema_weights(prefix: str) -> None:
    content = under(prefix, EMA)
    assert same(taken(content), EMA)
    assert same(taken(content, ema=True), EMA)
    refused(content, "EMA weights only", ema=False)


def test_a_prefix_on_some_keys_of_what_is_no_swin_stays() -> None:
    state = {"module.conv.weight": torch.zeros(1), "other.weight": torch.zeros(1)}
    assert same(taken(state), state)
    # The control: on every key it goes.
    assert list(taken(under("module.", state)).tensors) == list(state)


def test_a_name_that_only_begins_like_a_prefix_stays() -> None:
    for name in ("module", "models.weight", "network.weight", "emaciated.weight"):
        assert list(taken({name: torch.zeros(1)}).tensors) == [name]


@pytest.mark.parametrize("mark", [V1, V2])
@pytest.mark.parametrize("prefix", ["model.", "net.", "model._orig_mod."])
def test_the_network_is_taken_out_of_a_module_with_losses_and_metrics(prefix: str, mark: str) -> None:
    network = {mark: torch.ones(1), "head.weight": torch.zeros(1)}
    beside = {
        "loss.weight": torch.ones(2),
        "perceptual.features.0.weight": torch.ones(1),
        "clip.logit_scale": torch.ones(1),
        "logit_scale": torch.ones(1),
        "train_accuracy.total": torch.ones(1),
    }
    got = taken({"state_dict": {**beside, **under(prefix, network)}})
    assert same(got, network)
    assert said(got, f"of 7 keys the 2 under `{prefix.split('.')[0]}.` were taken, and 5 left out", "and 1 more")
    assert said(got, "loss.weight, perceptual.features.0.weight", f"prefix `{prefix}` removed from all 2 keys")


@pytest.mark.parametrize("beside", [under("teacher.", PLAIN), under("net.", PLAIN), under("backbone.", PLAIN), PLAIN])
def test_two_networks_are_a_choice_that_nobody_makes_here(beside: dict[str, Tensor]) -> None:
    state = {**under("model.", PLAIN), **beside}
    assert same(taken(state), state)


@pytest.mark.parametrize(
    "part",
    [
        "head.weight",
        "fc.bias",
        "norm.weight",
        "classifier.1.weight",
        "decode_head.conv",
        "hidden_states_norms.0.weight",
    ],
)
def test_a_part_of_the_network_outside_its_prefix_is_never_left_out_silently(part: str) -> None:
    state = {**under("model.", PLAIN), part: torch.zeros(1)}
    refused(state, f"`model.` holds a Swin, and {part} beside it", "with its head")
    # The control: under another name it is a loss or a metric.
    assert same(taken({**under("model.", PLAIN), f"loss.{part}": torch.zeros(1)}), PLAIN)


def test_a_module_that_holds_its_own_average_follows_the_same_rule() -> None:
    state = {"step": torch.tensor(3), **under("model.", PLAIN), **under("ema_model.module.", EMA)}
    default = taken(state)
    assert same(default, EMA)
    assert said(default, "of 5 keys the 2 under `ema_model.` (EMA) were taken, and 3 left out", "ema_model.module.")
    assert same(taken(state, ema=True), EMA)
    assert same(taken(state, ema=False), PLAIN)


@pytest.mark.parametrize("counter", ["n_averaged", "steps"])
def test_the_counter_of_an_averaged_model_is_left_out(counter: str) -> None:
    state = {counter: torch.tensor(3), **under("module.", EMA)}
    got = taken({"model": PLAIN, "model_ema": state})
    assert same(got, EMA)
    assert said(got, f"1 left out: {counter}")
