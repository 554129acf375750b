"""How large numbers get inside a network: every operator's result, by the layer that it is computed in.

FP16 ends at 65504. What is beyond becomes infinite, and NaN a little later: a black picture or a constant class. The
additions of residuals grow with depth, and SwinIR's are known to leave FP16 (docs/doctor.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["FP16_LARGEST", "Peak", "largest_activations", "largest_weights"]

FP16_LARGEST = 65504.0

# What a function's result is called.
_KINDS: Mapping[str, str] = {
    "linear": "linear",
    "conv2d": "convolution",
    "layer_norm": "norm",
    "batch_norm": "norm",
    "add": "sum",
    "add_": "sum",
    "__add__": "sum",
    "matmul": "product",
    "__matmul__": "product",
}
# Results that only arrange what was there: looking at them again finds nothing.
_MOVES = frozenset(
    {
        "__get__", "__getitem__", "chunk", "contiguous", "detach", "double", "expand", "flatten", "float", "half",
        "index_select", "pad", "permute", "reshape", "roll", "squeeze", "to", "transpose", "unbind", "unflatten",
        "unsqueeze", "view",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Peak:
    """The largest magnitude of one kind of result in one layer.

    Attributes:
        layer: Its name in the network, e.g. `blocks.3.attn`.
        kind: `linear`, `convolution`, `norm`, `sum` (a residual), `score` (of an attention, with bias and mask),
            `product` (of two activations), `weight` or `other`.
        largest: The magnitude; infinite where a result was infinite or no number.
    """

    layer: str
    kind: str
    largest: float

    @property
    def fits_fp16(self) -> bool:
        """Whether FP16 can hold it."""
        return self.largest <= FP16_LARGEST


@torch.no_grad()
def largest_activations(network: nn.Module, batches: Iterable[npt.NDArray[np.float32]]) -> tuple[Peak, ...]:
    """Run `network` as it is on `batches` [B, channels, H, W]; in the order in which layers are computed."""
    recorder = _Recorder()
    with _named(network, recorder):
        for batch in batches:
            images = torch.from_numpy(batch)
            recorder.calls = 0
            with recorder:
                network(images)
    in_order = sorted(recorder.peaks.items(), key=lambda entry: entry[1][1])
    return _peaks(_scores_apart({place: largest for place, (largest, _) in in_order}))


@torch.no_grad()
def largest_weights(network: nn.Module) -> tuple[Peak, ...]:
    """The largest magnitude of each weight and constant, in the order of the layers."""
    tensors = (*network.named_parameters(), *network.named_buffers())
    return _peaks({(name, "weight"): _largest(tensor) for name, tensor in tensors if tensor.is_floating_point()})


def _scores_apart(peaks: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Where a softmax is, the sums are of scores, bias and mask, and no residual."""
    found: dict[tuple[str, str], float] = {}
    for (layer, kind), largest in peaks.items():
        place = layer, "score" if kind == "sum" and (layer, "score") in peaks else kind
        found[place] = max(found.get(place, 0.0), largest)
    return found


def _peaks(found: Mapping[tuple[str, str], float]) -> tuple[Peak, ...]:
    return tuple(Peak(*place, largest) for place, largest in found.items())


def _largest(tensor: Tensor) -> float:
    if tensor.numel() == 0:
        return 0.0
    largest = float(tensor.abs().max())  # NaN goes through a maximum
    return largest if largest == largest else float("inf")


class _Recorder(TorchFunctionMode):
    """Sees every call of PyTorch, and notes its result under the module that is at work.

    Attributes:
        working: Names of the modules at work, the innermost last.
        calls: How many results were noted in this run.
        peaks: By layer and kind, the largest magnitude, and as which of a run's results it came.
    """

    def __init__(self) -> None:
        super().__init__()
        self.working, self.calls = [""], 0
        self.peaks: dict[tuple[str, str], tuple[float, int]] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call, and note."""
        result = function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", "")
        if name == "softmax":
            self._note("score", args[0])
        elif isinstance(result, Tensor) and result.is_floating_point() and name not in _MOVES:
            self._note(_KINDS.get(name, "other"), result)
        return result

    def _note(self, kind: str, tensor: Tensor) -> None:
        place, largest = (self.working[-1], kind), _largest(tensor)
        self.calls += 1
        if place not in self.peaks or largest > self.peaks[place][0]:
            self.peaks[place] = largest, self.calls


@contextmanager
def _named(network: nn.Module, recorder: _Recorder) -> Iterator[None]:
    """While it holds, the recorder knows which module is at work."""
    handles = []
    try:
        for name, module in network.named_modules():
            if name:
                handles.append(module.register_forward_pre_hook(lambda *_, name=name: recorder.working.append(name)))
                handles.append(module.register_forward_hook(lambda *_: (recorder.working.pop(), None)[1]))
        yield
    finally:
        for handle in handles:
            handle.remove()
