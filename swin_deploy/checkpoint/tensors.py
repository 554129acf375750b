"""Read a checkpoint file into named tensors without ever running code from it."""

from __future__ import annotations

import json
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin_deploy.checkpoint.pickled_names import foreign_names
from swin_deploy.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["read_tensors"]

_PICKLED = {".pth", ".pt", ".bin", ".ckpt"}
# What training scripts wrap a state_dict in; the first that is present is taken.
_WRAPPERS = ("state_dict", "model")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read `.safetensors`, or `.pth`/`.pt`/`.bin`/`.ckpt` restricted to plain tensors.

    Returns:
        Floating-point tensors in FP32, others as they are, on the CPU.

    Raises:
        BadInput: the file is missing, damaged, of another kind, would run code, or holds no tensors.
    """
    if not path.is_file():
        raise BadInput(
            f"{path} is not a file" if path.exists() else f"{path} does not exist",
            needed="a checkpoint file: .safetensors, or .pth/.pt/.bin/.ckpt with plain tensors",
            do="Give the path of the file itself",
        )
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        tensors = _read_safetensors(path)
    elif suffix in _PICKLED:
        tensors = _read_pickled(path)
    else:
        raise BadInput(
            f"{path} has the ending {suffix or '(none)'}",
            needed="a checkpoint: .safetensors, or .pth/.pt/.bin/.ckpt with plain tensors",
            do="Rename the file if it is one of these, else save model.state_dict() as .safetensors",
        )
    if not tensors:
        raise BadInput(
            f"{path} holds no tensors",
            needed="the weights of a Swin Transformer",
            do="Save model.state_dict() of the trained model",
        )
    tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return {name: _checked(path, name, tensor) for name, tensor in tensors.items()}


def _checked(path: Path, name: str, tensor: Tensor) -> Tensor:
    import torch

    if not tensor.is_floating_point():
        return tensor
    tensor = tensor.detach().to(torch.float32)
    if not bool(torch.isfinite(tensor).all()):
        raise BadInput(
            f"{path}: tensor {name} holds NaN or Inf",
            needed="finite weights",
            do="The training run diverged or the file is damaged: take an earlier checkpoint",
        )
    return tensor


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(
            f"{path} {_why_not_safetensors(path)}",
            needed="a complete safetensors file",
            do="Copy or download the checkpoint again and compare its size or checksum",
        ) from error


def _why_not_safetensors(path: Path) -> str:
    """Tell a truncated file from one that never was safetensors."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        head = handle.read(9)
        if len(head) < 9 or head[8:9] != b"{":
            return "is not a safetensors file, whatever its name says"
        (header_size,) = struct.unpack("<Q", head[:8])
        handle.seek(8)
        header = handle.read(min(header_size, size))
    if len(header) < header_size:
        return f"is truncated: {size} bytes, and its header alone needs {8 + header_size}"
    try:
        entries: dict[str, Any] = json.loads(header)
        data = max(entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__")
    except (ValueError, KeyError, TypeError):
        return "is damaged: its header cannot be read"
    expected = 8 + header_size + data
    if size < expected:
        return f"is truncated: {size} bytes of {expected}"
    return "is damaged"


def _read_pickled(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on the pickle; a file it cannot read raises besides
            content = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file raises whatever torch stumbles on, IndexError and struct.error too
        raise _unreadable(path) from error
    if not isinstance(content, dict):
        raise BadInput(
            f"{path} holds a {type(content).__name__}",
            needed="a state_dict: names and tensors",
            do="Save model.state_dict() alone, best as .safetensors",
        )
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    strangers = [
        str(name) for name, value in content.items() if not (isinstance(name, str) and isinstance(value, torch.Tensor))
    ]
    if strangers:
        raise BadInput(
            f"{path}: {', '.join(strangers[:3])} {'is' if len(strangers) == 1 else 'are'} no named tensor",
            needed="a state_dict, bare or under one of: " + ", ".join(_WRAPPERS),
            do="Save model.state_dict() alone, best as .safetensors",
        )
    return dict(content)


def _unreadable(path: Path) -> BadInput:
    """Tell a file that asks for code to be run from one that is damaged."""
    names = foreign_names(path)
    if names:
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return BadInput(
            f"{path} holds Python objects besides tensors ({shown}), and loading them would run code from the file",
            needed="a file of plain tensors",
            do="Save model.state_dict() alone, best as .safetensors, in the environment that trained it",
        )
    return BadInput(
        f"{path} is truncated or not a PyTorch file",
        needed="a complete file of tensors written by torch.save",
        do="Copy or download the checkpoint again and compare its size or checksum, or save it as .safetensors",
    )
