"""Which class stands behind a name of `--attention`: a shipped variant, or a user's own `package.module:Class`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from swin_deploy.errors import BadInput, ExplainedError
from swin_deploy.user_code import import_user_module

if TYPE_CHECKING:
    from torch import nn

    from swin_deploy.checkpoint.spec import Family, StageSpec
    from swin_deploy.model.geometry import BlockGeometry

    Variant = Callable[[StageSpec, BlockGeometry], nn.Module]

__all__ = ["SHIPPED", "find_variant"]

_HERE = "swin_deploy.model.variants"
# Name to the class for each family that the variant supports. A variant is built from a stage and a block's geometry.
# `forward` takes the block's feature map [B, H, W, C], after norm1 in V1, to the same shape. A method `folded()`, if
# there is one, gives its twin on the window-ordered stream [B, L, C], in which padded tokens are zero.
SHIPPED: Mapping[str, Mapping[Family, str]] = MappingProxyType(
    {
        "channel-gate": {"v1": f"{_HERE}.channel_gate:ChannelGate", "v2": f"{_HERE}.channel_gate:ChannelGateV2"},
        "linformer": {"v1": f"{_HERE}.linformer:Linformer"},
        "performer": {"v1": f"{_HERE}.performer:Performer"},
        "routing": {"v1": f"{_HERE}.routing:Routing"},
    }
)


def find_variant(name: str) -> Variant:
    """What builds the attention behind `name`.

    Returns:
        A function of a stage and a block's geometry. It raises `BadInput` where a shipped variant does not support the
        stage's family or a user's class cannot be built; the user's module raises it where it changes the map's shape.

    Raises:
        BadInput: the name is neither a shipped variant nor `package.module:Class` of an importable torch.nn.Module.
    """
    if name in SHIPPED:
        return partial(_shipped, name)
    return partial(_own, name, _imported(name))


def _shipped(name: str, spec: StageSpec, geometry: BlockGeometry) -> nn.Module:
    family: Family = "v1" if spec.pretrained_window is None else "v2"
    path = SHIPPED[name].get(family)
    if path is None:
        raise BadInput(
            f"--attention {name} in a Swin {family.upper()}",
            needed="a Swin " + " or ".join(supported.upper() for supported in SHIPPED[name]),
            do=f"See docs/variants.md for what {name} would have to make of the cosine attention",
        )
    module: nn.Module = _imported(path)(spec, geometry)
    return module


def _own(name: str, variant: Any, spec: StageSpec, geometry: BlockGeometry) -> nn.Module:
    """A user's class, whose faults are told as such."""
    try:
        module: nn.Module = variant(spec, geometry)
    except ExplainedError:
        raise
    except Exception as error:  # whatever somebody else's code may raise
        raise BadInput(
            f"--attention {name} cannot be built: {type(error).__name__}: {error}",
            needed="a class that is built from a StageSpec and a BlockGeometry",
            do="See docs/variants.md for what a class of your own is given and has to give",
        ) from error
    # Looked at here once for both forms: a sum with the residual stream might broadcast a wrong shape without an error.
    module.register_forward_hook(_require_same_shape)
    return module


def _require_same_shape(module: nn.Module, given: tuple[Any, ...], result: Any) -> None:
    wanted, got = given[0].shape, getattr(result, "shape", None)
    if got != wanted:
        found = type(result).__name__ if got is None else "x".join(str(axis) for axis in got)
        raise BadInput(
            f"the attention {type(module).__name__} made {found} of a feature map of "
            + "x".join(str(axis) for axis in wanted),
            needed="its output in the shape of its input, [batch, height, width, channels]",
            do="Give a tensor of that shape back from forward()",
        )


def _imported(name: str) -> Any:
    """The class that `package.module:Class` names.

    Raises:
        BadInput: there is no such thing, or it is no torch.nn.Module class.
    """
    from torch import nn

    module, separator, attribute = name.partition(":")
    if not (module and separator and attribute):
        raise BadInput(
            f"--attention {name}",
            needed="package.module:Class, or one of " + ", ".join(SHIPPED),
            do="Name the class of your attention with the module that holds it",
        )
    try:
        found = getattr(import_user_module(module), attribute)
    except Exception as error:  # an import runs somebody else's code, which may raise anything
        raise BadInput(
            f"--attention {name} cannot be imported: {type(error).__name__}: {error}",
            needed="a module that Python finds and can run, and a class in it",
            do="Run from the folder that holds the module, or set PYTHONPATH",
        ) from error
    # A name may come from a file's header: nothing is called that is not what an attention has to be.
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise BadInput(
            f"--attention {name} is no torch.nn.Module class",
            needed="the class of an attention",
            do="Name the class itself, not an instance of it or a function",
        )
    return found
