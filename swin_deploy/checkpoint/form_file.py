"""Our own weight files: one of the two forms as safetensors, with its name and its spec in the header."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.errors import BadInput
from swin_deploy.user_code import code_fingerprint

if TYPE_CHECKING:
    from torch import nn

    Model = TypeVar("Model", bound=nn.Module)

__all__ = ["read_form", "write_form"]

Form = Literal["reference", "deployment"]
_NAMES: dict[Form, str] = {"reference": "paper form", "deployment": "deployment form"}


def write_form(model: nn.Module, spec: SwinSpec, form: Form, path: Path) -> None:
    """Write the weights of `model`, in their own type; the same weights give the same bytes.

    With an attention of the user's own, its code is a part of the network: another code gives another file.
    """
    from safetensors.torch import save_file

    metadata = {"form": form, "spec": spec.to_json()}
    if ":" in spec.attention:
        metadata["attention_code"] = code_fingerprint(spec.attention.partition(":")[0])

    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, path, metadata=metadata)
    _order_metadata(path)


def read_form(build: Callable[[SwinSpec], Model], form: Form, path: Path) -> Model:
    """Read what `write_form` wrote into `build(spec)`, in evaluation mode and in the file's own type.

    Raises:
        BadInput: the file is missing, damaged, or of another form.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise _unusable(path, form, f"cannot be read as safetensors: {error}") from error
    if metadata.get("form") != form:
        raise _unusable(path, form, f"holds no {_NAMES[form]}")
    try:
        model = build(SwinSpec.from_json(metadata["spec"]))
        kind = next(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point())
        model.to(kind).load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, StopIteration) as error:
        reason = str(error).splitlines()[-1].strip()
        raise _unusable(path, form, f"does not fit the architecture in its header: {reason}") from error
    return model.eval()


def _order_metadata(path: Path) -> None:
    """Put the header's metadata in alphabetical order: safetensors writes them in a new order at every call."""
    with path.open("rb+") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= size, "the same entries take the same room"
        file.seek(8)
        file.write(text.ljust(size))


def _unusable(path: Path, form: Form, seen: str) -> BadInput:
    return BadInput(
        f"{path} {seen}",
        needed=f"the {_NAMES[form]} that the {'load' if form == 'reference' else 'fold'} stage of this version wrote",
        do="Build again from the checkpoint",
    )
