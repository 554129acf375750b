"""Read a checkpoint file into named tensors without ever running code from it.

A pickle is read by torch's weights-only reader, which rebuilds tensors and refuses every class it does not know.
Training scripts save their options and counters beside the weights, so that reader gets inert stand-ins for an explicit
list of classes that only hold data. The class itself is neither imported nor called: its stand-in drops the arguments
and the state that the file has for it, and of the items of a mapping nothing but the weights is looked at.
"""

from __future__ import annotations

import _compat_pickle
import json
import pickle
import re
import struct
import tarfile
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin_deploy.checkpoint.pickled_names import foreign_names
from swin_deploy.checkpoint.wrappers import find_weights
from swin_deploy.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FileContents", "read_checkpoint_file"]

_PICKLED = frozenset({".pth", ".pt", ".bin", ".ckpt", ".tar"})  # `.tar`: timm's model_best.pth.tar is a pickle
_NEEDED = "a checkpoint file: .safetensors, or .pth/.pt/.bin/.ckpt/.pth.tar with plain tensors"

# What is read as an inert stand-in, by the kind of Python object that the pickle goes on to fill, and who writes it.
_OBJECTS = (
    "argparse.Namespace",  # `args` of timm, torchvision's references, DeiT and what came of them
    "pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.PureWindowsPath", "pathlib.WindowsPath",  # among `args`
    "pathlib._local.PosixPath", "pathlib._local.PurePosixPath",  # the same in Python 3.13
    "pathlib._local.PureWindowsPath", "pathlib._local.WindowsPath",
    "numpy.core.multiarray._reconstruct", "numpy.core.multiarray.scalar",  # a best accuracy that NumPy computed
    "numpy._core.multiarray._reconstruct", "numpy._core.multiarray.scalar",  # the same since NumPy 2
    "numpy.dtype", "numpy.ndarray",
    "mmengine.logging.history_buffer.HistoryBuffer",  # `message_hub` of what mmengine's Runner saves
    "builtins.getattr",  # how a pickle of HistoryBuffer names its methods; the stand-in looks nothing up
    "mmengine.config.config.Config",  # a config kept as an object; mmengine itself keeps its text
    "omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata", "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig", "omegaconf.nodes.AnyNode",  # `hyper_parameters` of Lightning with Hydra
    "typing.Any", "builtins.dict", "builtins.int", "builtins.list",  # types named by OmegaConf's metadata
)  # fmt: skip
_MAPPINGS = (
    "yacs.config.CfgNode",  # `config` of what Microsoft's training script saves
    "mmengine.config.config.ConfigDict",
    "lightning.fabric.utilities.data.AttributeDict", "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict", "pytorch_lightning.utilities.parsing.AttributeDict",
    "collections.defaultdict",  # of the standard library, as harmless as the dict that stands in
)  # fmt: skip
_LISTS = ("collections.deque",)  # likewise
_INERT = frozenset((*_OBJECTS, *_MAPPINGS, *_LISTS))
# Allowed by torch's reader itself, besides the tensors' own.
_HARMLESS = frozenset({"_codecs.encode", "builtins.bytearray", "builtins.complex", "builtins.set"})


@dataclass(frozen=True)
class FileContents:
    """The weights of a checkpoint file.

    Attributes:
        tensors: Floating-point tensors in FP32, others as they are, on the CPU, under names without prefixes of
            wrappers.
        evidence: Where they were, what was removed or left out, and how they were stored, one sentence a fact.
    """

    tensors: dict[str, Tensor]
    evidence: tuple[str, ...]


class _Inert:
    """Stands in for a class or function whose result nobody looks at."""

    __slots__ = ()

    def __new__(cls, *_args: object) -> _Inert:
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None:
        pass


class _InertMapping:
    """Stands in for a subclass of dict: torch's reader sets items of dict and OrderedDict only."""

    def __new__(cls, *_args: object) -> OrderedDict[object, object]:  # type: ignore[misc]
        return OrderedDict()


class _InertList:
    """Stands in for a kind of list."""

    def __new__(cls, *_args: object) -> list[object]:  # type: ignore[misc]
        return []


def read_checkpoint_file(path: Path, *, ema: bool | None = None, wanted: Collection[str] | None = None) -> FileContents:
    """Read `.safetensors`, or what torch.save wrote, restricted to plain tensors.

    Args:
        path: The file: `.safetensors`, `.pth`, `.pt`, `.bin`, `.ckpt`, `.pth.tar` or `.tar`.
        ema: `True` requires averaged weights, `False` plain ones; `None` takes averaged ones where there are any,
            see `wrappers`.
        wanted: The names that a user's own network has, see `find_weights`.

    Raises:
        BadInput: the file is missing, damaged, of another kind, would run code, or holds no tensors of the wanted kind.
    """
    if not path.is_file():
        raise BadInput(
            f"{path} is not a file" if path.exists() else f"{path} does not exist",
            needed=_NEEDED,
            do="Give the path of the file itself",
        )
    _refuse_shards(path)
    suffix = path.suffix.lower()
    inert: tuple[str, ...] = ()
    content: dict[Any, Any]
    if suffix == ".safetensors":
        content = dict(_read_safetensors(path))
    elif suffix in _PICKLED:
        content = _read_pickled(path)
        inert = tuple(name for name in _foreign(path) if name in _INERT)
    else:
        raise BadInput(
            f"{path} has the ending {suffix or '(none)'}",
            needed=_NEEDED,
            do="Rename the file if it is one of these, else save model.state_dict() as .safetensors",
        )
    weights = find_weights(content, str(path), ema=ema, wanted=wanted)
    evidence = list(weights.evidence)
    if inert:
        evidence.append(f"objects beside the weights were neither rebuilt nor read: {', '.join(inert)}")
    evidence += _said_of_widths(weights.tensors.values())
    return FileContents(
        {name: _checked(path, name, tensor) for name, tensor in weights.tensors.items()}, tuple(evidence)
    )


def _refuse_shards(path: Path) -> None:
    """Refuse a part of a checkpoint that was saved in several files, and the list of them.

    Raises:
        BadInput: it is one, by its name.
    """
    if re.search(r"-\d{5}-of-\d{5}$", path.stem) or path.name.endswith(".index.json"):
        raise BadInput(
            f"{path} is {'the list of the files' if path.suffix == '.json' else 'one file'} of a checkpoint in several",
            needed="a checkpoint in one file",
            do='Save it with model.save_pretrained(folder, max_shard_size="50GB"), and give model.safetensors',
        )


def _said_of_widths(tensors: Iterable[Tensor]) -> list[str]:
    """That weights were raised or rounded to FP32, if any was."""
    widths = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors if tensor.is_floating_point())
    if set(widths) <= {"float32"}:
        return []
    counted = " and ".join(f"{width} ({count})" for width, count in sorted(widths.items()))
    return [f"weights stored as {counted if len(widths) > 1 else next(iter(widths))}, read as float32"]


def _checked(path: Path, name: str, tensor: Tensor) -> Tensor:
    import torch

    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        raise BadInput(
            f"{path}: tensor {name} is sparse, quantized or without data",
            needed="plain dense tensors",
            do="Save the weights as they were before they were packed",
        )
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


def _read_pickled(path: Path) -> dict[Any, Any]:
    import torch

    _refuse_archive(path)
    stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (kind, name)
        for kind, names in ((_Inert, _OBJECTS), (_InertMapping, _MAPPINGS), (_InertList, _LISTS))
        for name in names
    ]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
            warnings.simplefilter("ignore")  # torch's remarks on the pickle; a file it cannot read raises besides
            content = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file raises whatever torch stumbles on, IndexError and struct.error too
        raise _unreadable(path, error) from error
    if not isinstance(content, dict):
        raise BadInput(
            f"{path} holds a {'Python object' if isinstance(content, _Inert) else type(content).__name__}",
            needed="a state_dict: names and tensors",
            do="Save model.state_dict() alone, best as .safetensors",
        )
    return content


def _refuse_archive(path: Path) -> None:
    """Tell a tar archive from the `.pth.tar` of torch.save, which only has its ending.

    Raises:
        BadInput: it is an archive with something in it.
    """
    with path.open("rb") as handle:
        if handle.read(4) == b"PK\x03\x04":  # torch.save since 1.6; `is_zipfile` would find one in an archive too
            return
    try:
        with tarfile.open(path) as archive:
            first = archive.next()
    except Exception:  # no archive; looking for its compression raises whatever a decompressor stumbles on
        return
    if first is not None:
        raise BadInput(
            f"{path} is a tar archive that begins with {first.name!a}",
            needed="a file of torch.save, which some scripts also name .pth.tar",
            do="Unpack the archive and give the path of the checkpoint in it",
        )


def _foreign(path: Path) -> list[str]:
    """Foreign names of the pickle, those of Python 2 under the names that torch's reader knows them by."""
    found = set()
    for name in foreign_names(path):
        module, _, attribute = name.rpartition(".")
        # torch.save writes protocol 2, hence the names of Python 2's modules.
        module, attribute = _compat_pickle.NAME_MAPPING.get((module, attribute), (module, attribute))
        found.add(f"{_compat_pickle.IMPORT_MAPPING.get(module, module)}.{attribute}")
    return sorted(found - _HARMLESS)


def _unreadable(path: Path, error: Exception) -> BadInput:
    """Tell a file that asks for code to be run from one that is damaged."""
    foreign = _foreign(path)
    # Names that hold data are to blame only where the reader refused what the pickle does with them.
    names = [name for name in foreign if name not in _INERT] or (
        foreign if isinstance(error, pickle.UnpicklingError) else []
    )
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
