"""Record launches in place of carrying them out, so that a network becomes a list of them.

The network runs once on tensors of PyTorch's meta device: they have shapes and no memory, so that the largest network
at the largest batch is recorded in seconds on any machine. Whatever is not a launch of ours would be missing from the
list; so PyTorch's own operators on such tensors are refused, but for views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from swin_deploy.errors import BadInput
from swin_deploy.kernels.launch import Launch

__all__ = ["RecordedRun", "Recording", "record", "storage"]


@dataclass(frozen=True)
class Recording:
    """What a network launches for one batch.

    Attributes:
        launches: In their order. Weights among their arguments have values; all other tensors are of the meta device
            and are told apart by `storage`.
        images: What the network was given.
        output: What the last of the launches that matter wrote.
    """

    launches: tuple[Launch, ...]
    images: Tensor
    output: Tensor


class RecordedRun:
    """See `launch.Run`; `record` takes what was launched out of it.

    Attributes:
        launches: Since the last `clear`.
        tensors: What was asked for since, by `storage`.
    """

    def __init__(self) -> None:
        self.launches: list[Launch] = []
        self.tensors: dict[int, Tensor] = {}

    def clear(self) -> None:
        """Forget what was recorded."""
        self.launches, self.tensors = [], {}

    def empty(self, shape: Sequence[int], dtype: torch.dtype, like: Tensor) -> Tensor:
        """See `Run.empty`; of the meta device, whatever `like` is on."""
        tensor = torch.empty(tuple(shape), dtype=dtype, device="meta")
        self.tensors[storage(tensor)] = tensor
        return tensor

    def launch(self, launch: Launch) -> None:
        """See `Run.launch`."""
        self.launches.append(launch)


@torch.no_grad()
def record(network: nn.Module, run: RecordedRun, images: Sequence[int]) -> Recording:
    """What `network` launches for `images`.

    Args:
        network: A fused form whose operators launch on `run`.
        run: Where they do.
        images: The shape of the images, with the batch.

    Raises:
        BadInput: PyTorch computes a part of the network itself, or the network has more than one output.
    """
    run.clear()
    given = torch.empty(tuple(images), dtype=torch.float32, device="meta")
    with _ViewsOnly() as watch:
        output = network(given)
    if not isinstance(output, Tensor):
        raise BadInput(f"the network has {len(output)} outputs", needed="one, as a classifier has")
    found = Recording(tuple(run.launches), given, watch.before_cast(output))
    known = {*run.tensors, storage(given)}
    foreign = [tensor for launch in found.launches for tensor in launch.arguments.values() if _foreign(tensor, known)]
    if foreign or storage(found.output) not in run.tensors:
        raise BadInput(
            "PyTorch changes the type of a tensor in the network itself",
            needed="a fused form in which only the output does",
        )
    run.clear()
    return found


def _foreign(value: Tensor | int | None, known: set[int]) -> bool:
    """Whether `value` is a tensor between launches that no launch was given to write."""
    return isinstance(value, Tensor) and value.is_meta and storage(value) not in known


def storage(tensor: Tensor) -> int:
    """The same number for all views of one tensor, as long as one of them lives."""
    return int(tensor.untyped_storage()._cdata)


class _ViewsOnly(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses operators that compute on tensors of the meta device.

    A change of type gets through, since the fused form ends in one: the result of the last launch in FP32.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._casts: dict[int, tuple[Tensor, Tensor]] = {}  # both kept, so that no other tensor gets their storage

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by PyTorch for each of its operators."""
        result = func(*args, **(kwargs or {}))
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.is_meta]
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        known = {storage(tensor) for tensor in given}
        if not given or (not func._schema.is_mutable and all(storage(tensor) in known for tensor in made)):
            return result
        if func is not torch.ops.aten._to_copy.default:
            raise BadInput(
                f"PyTorch computes {func} in the network itself",
                needed="a fused form whose every step is a kernel of ours",
                do="Fuse all that can be fused; a network with more around its blocks has no kernel program",
            )
        self._casts[storage(result)] = (result, args[0])
        return result

    def before_cast(self, tensor: Tensor) -> Tensor:
        """What `tensor` was before its type was changed."""
        return self._casts.get(storage(tensor), (tensor, tensor))[1]
