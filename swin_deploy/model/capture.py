"""A user's own network, deployed as it is: import it, give it the checkpoint's weights, and capture it as a graph.

What is captured is an exported program, which needs the user's code no more.
"""

from __future__ import annotations

import io
import logging
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from swin_deploy.checkpoint.task import Captured, Classifier
from swin_deploy.errors import BadInput
from swin_deploy.torch_versions import export_program
from swin_deploy.user_code import current_folder_first, import_user_module

__all__ = [
    "NamedOutputs",
    "capture",
    "give_weights",
    "image_shape",
    "import_model",
    "open_program",
    "probe",
    "program_module",
    "save_program",
]

_NAMES = "outputs.json"
# |a - b| / |a| up to which two runs are the same: the gate of FP32, 100 dB.
_SAME = 1e-5


class NamedOutputs(nn.Module):
    """A network whose outputs are a tensor or a tuple of tensors, with a name for each."""

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """[B, channels, Hpx, Wpx] to what `names` names."""
        values = tuple(tensor for _, tensor in _named(self.network(images)))
        return values[0] if len(values) == 1 else values


def import_model(name: str) -> nn.Module:
    """Call `package.module:function` and take the network that it returns, with whatever weights it has.

    Raises:
        BadInput: the function cannot be imported, fails or returns no network.
    """
    module, separator, attribute = name.partition(":")
    if not (module and separator and attribute):
        raise BadInput(f"--model {name}", needed="package.module:function", do="Name a function that makes the network")
    try:
        function = getattr(import_user_module(module), attribute)
    except (Exception, SystemExit) as error:  # an import runs the user's code, which may raise anything
        raise BadInput(
            f"--model {name} cannot be imported: {_said(error)}",
            needed="a module that Python finds and can run, and a function in it",
            do="Run from the folder that holds the module, or set PYTHONPATH",
        ) from error
    try:
        with current_folder_first():
            network = function()
    except (Exception, SystemExit) as error:  # likewise
        raise BadInput(
            f"--model {name} failed: {_said(error)}",
            needed="a function that makes the network without arguments",
            do="Call it in a Python shell to see the whole traceback",
        ) from error
    if not isinstance(network, nn.Module):
        raise BadInput(
            f"--model {name} returned a {type(network).__name__}",
            needed="a torch.nn.Module",
            do="Return the network itself",
        )
    return network


def give_weights(network: nn.Module, name: str, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Load a checkpoint's `tensors` into the network that `name` made.

    Returns:
        The network in evaluation mode, FP32, on the CPU.

    Raises:
        BadInput: they are not its weights.
    """
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise BadInput(
            f"the checkpoint's weights do not fit --model {name}: {_mismatch(error)}",
            needed="the state_dict of this very network",
            do="Check the arguments with which the function makes it",
        ) from error
    return network.float().cpu().eval()


@torch.no_grad()
def probe(network: nn.Module, image_size: tuple[int, int], channels: int) -> Captured | Classifier:
    """Run `network` on random images, two and one of them, to see what it gives.

    Raises:
        BadInput: it fails on such images, gives something else than tensors with the batch as first axis, or another
            answer each time.
    """
    images = _random_images(2, image_size, channels)
    named = _run(network, images)
    _refuse_shapes(named, 2)
    _refuse_shapes(_run(network, images[:1]), 1)
    if _apart(named, _run(network, images)) > _SAME:
        raise BadInput(
            "the network gives another answer each time it is shown the same images",
            needed="a network that computes the same in evaluation mode, with nothing random and no memory of earlier "
            "images",
            do="Look for dropout called as a function, whose `training` has to be self.training",
        )
    names = [name for name, _ in named]
    if len({*names, "images"}) <= len(names):
        raise BadInput(
            f"the network's outputs are called {', '.join(names)}",
            needed="a name for each, and none of them `images`, which is the input's",
            do="Rename the entries of what the network returns",
        )
    if len(named) == 1 and named[0][1].ndim == 2:
        return Classifier(int(named[0][1].shape[1]))
    return Captured(tuple(names), sum(4 * tensor[0].numel() for _, tensor in named))


@torch.no_grad()
def capture(network: nn.Module, image_size: tuple[int, int], channels: int, largest_batch: int) -> ExportedProgram:
    """Trace `network` with a free batch axis on images [B, channels, H, W] in FP32; `probe` names its outputs.

    Raises:
        BadInput: it cannot be traced with a free batch, what was traced is not the network, or see `probe`.
    """
    names = probe(network, image_size, channels).output_names
    largest = max(largest_batch, 2)
    wrapped = NamedOutputs(network, names)
    try:
        with _silence():
            program = export_program(wrapped, image_size, largest, "cpu", channels)
    except Exception as error:  # torch raises many kinds here
        raise BadInput(
            f"the network cannot be captured with a free batch: {_untraceable(error)}",
            needed="a network that torch.export traces: no branches on values of tensors, no batch size made an int",
            do="Call torch.export.export on it with a dynamic first axis, and mend what it names",
        ) from error
    traced = program_module(program)
    for count in (1, min(3, largest)):
        images = _random_images(count, image_size, channels)
        if _apart(_run(wrapped, images), _run(traced, images)) > _SAME:
            raise BadInput(
                f"the captured network gives another answer than the network itself at batch {count}",
                needed="a forward() that does the same whatever the batch and the images are",
                do="Look for values that forward() computes with NumPy or keeps as Python numbers",
            )
    return program


def program_module(program: ExportedProgram) -> Any:
    """The function of a program, with no warning of buffers that no gradient concerns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return program.module()


def image_shape(program: ExportedProgram) -> tuple[int, int, int]:
    """Channels, height and width of a program's one input."""
    node = next(node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs)
    channels, height, width = (int(side) for side in node.meta["val"].shape[1:])
    return channels, height, width


def save_program(program: ExportedProgram, names: tuple[str, ...], path: Path) -> None:
    """Write a captured network with the names of its outputs."""
    import json

    torch.export.save(program, path, extra_files={_NAMES: json.dumps(names)})


def open_program(path: Path) -> tuple[ExportedProgram, tuple[str, ...]]:
    """Read what `save_program` wrote: the program and the names of its outputs.

    Raises:
        BadInput: the file is no captured network, or of another torch.
    """
    import json

    extra = {_NAMES: ""}
    try:
        with _silence():
            program = torch.export.load(path, extra_files=extra)
        return program, tuple(json.loads(extra[_NAMES]))
    except Exception as error:  # torch raises many kinds for a damaged archive
        raise BadInput(
            f"{path} cannot be read as a captured network: {type(error).__name__}: {str(error).splitlines()[0]}",
            needed="the program that the capture stage of this version wrote",
            do="Build again from the checkpoint",
        ) from error


def _random_images(count: int, image_size: tuple[int, int], channels: int) -> Tensor:
    return torch.rand(count, channels, *image_size, generator=torch.Generator().manual_seed(0))


def _run(network: Any, images: Tensor) -> list[tuple[str, Tensor]]:
    """The named outputs of any network.

    Raises:
        BadInput: it fails.
    """
    try:
        return _named(network(images))
    except Exception as error:  # the user's code may raise anything
        count, *shape = images.shape
        raise BadInput(
            f"the network fails on {count} image{'s' * (count > 1)} of {'x'.join(map(str, shape))}: {_said(error)}",
            needed="a network that takes images [B, channels, H, W] and returns tensors",
            do="Check --image-size, and run the network on such a tensor",
        ) from error


def _named(outputs: Any, name: str = "") -> list[tuple[str, Tensor]]:
    """Every tensor of a network's result with its name: the keys and fields that lead to it, else its position."""
    if isinstance(outputs, Tensor):
        return [(name or "output0", outputs)]
    if is_dataclass(outputs) and not isinstance(outputs, (Mapping, type)):
        outputs = {entry.name: getattr(outputs, entry.name) for entry in fields(outputs)}
    elif hasattr(outputs, "_asdict"):
        outputs = outputs._asdict()  # a named tuple
    if isinstance(outputs, Mapping):  # dictionaries, and the output classes of transformers
        parts = [(f"{name}.{key}" if name else str(key), value) for key, value in outputs.items()]
    elif isinstance(outputs, (tuple, list)):
        parts = [(f"{name or 'output'}{index}", value) for index, value in enumerate(outputs)]
    else:
        parts = []
    return [found for part, value in parts for found in _named(value, part)]


def _refuse_shapes(named: list[tuple[str, Tensor]], batch: int) -> None:
    if named and all(tensor.shape[:1] == (batch,) for _, tensor in named):
        return
    shapes = ", ".join(f"{name} [{', '.join(map(str, tensor.shape))}]" for name, tensor in named)
    raise BadInput(
        f"at batch {batch} the network's outputs are {shapes or 'no tensors'}",
        needed="tensors whose first axis is the batch",
        do="Return such tensors, alone or in a tuple, list, dictionary or dataclass",
    )


def _apart(one: list[tuple[str, Tensor]], other: list[tuple[str, Tensor]]) -> float:
    """The largest relative distance of two runs, |a - b| / |a| over an output; infinite where shapes differ."""
    worst = 0.0
    for (_, wanted), (_, got) in zip(one, other, strict=True):
        if wanted.shape != got.shape:
            return math.inf
        a, b = wanted.double(), got.double()
        if not torch.equal(a.isnan(), b.isnan()):
            return math.inf
        difference, size = float((a - b).nan_to_num().norm()), float(a.nan_to_num().norm())
        worst = max(worst, difference / size if size else difference)
    return worst


def _said(error: BaseException) -> str:
    """Kind and first line of an error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _mismatch(error: RuntimeError) -> str:
    """The first two faults of torch's message, without the line that names the class."""
    faults = [line.strip().rstrip(".") for line in str(error).splitlines()[1:] if line.strip()]
    rest = len(faults) - 2
    return "; ".join(_short(fault) for fault in faults[:2]) + (f"; and {rest} more" if rest > 0 else "")


def _short(fault: str) -> str:
    """A list of keys by its first three."""
    found = fault.split(", ")
    return fault if len(found) <= 3 else ", ".join(found[:3]) + f" and {len(found) - 3} more"


def _untraceable(error: Exception) -> str:
    """What torch.export says, in a sentence: where it made an int of the batch, or on which line it met a value."""
    text = str(error)
    if "specialized it to be a constant" in text:
        return "somewhere it makes a constant of the batch size"
    place = re.search(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in .*\n\s*(?P<code>.+)', text)
    if "data-dependent" in text and place:
        return f"{Path(place['file']).name}, line {place['line']}, depends on a value: {place['code'].strip()}"
    return _said(error)


@contextmanager
def _silence() -> Iterator[None]:
    """torch.export logs and prints whole graphs and tracebacks before it raises what says the same."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
