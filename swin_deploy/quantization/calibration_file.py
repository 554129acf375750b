"""What calibration decided, with the record of what it was decided from: one file that another build can start from.

An .npz without pickles: the record as JSON text, and for each linear its input's move and step, its weights' codes and
steps, and the correction of its bias. It fits one network, one transform and one way of quantizing, and is refused for
any other.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from calib.calibration_record import CalibrationRecord, record_from_text, record_to_text
from calib.grid import GRIDS
from calib.linear_sample import InputSample
from calib.tools.problem import LinearProblem, Move
from swin_deploy.atomic import disk_faults, replacing
from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.input_groups import input_groups
from swin_deploy.onnx_graph.linears import Linear, linears
from swin_deploy.onnx_graph.move_inputs import move_inputs
from swin_deploy.quantization.solve import Settings, Solved

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["graph_fingerprint", "open_calibration", "read_record", "save_calibration"]

_ARRAYS = ("shift", "scale", "step", "codes", "weight_step", "correction")
# A lone .npy, which is no archive, is an array that knows no `with`.
_ERRORS = (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, TypeError, AttributeError)


def graph_fingerprint(model: ModelProto) -> str:
    """SHA-256 over every linear's place, weights and bias, and over all other numbers: what the solutions are for.

    An export names its constants anew each time, so the file's own hash would tell nothing. The others (norms, position
    biases, masks) count by their values alone, each once, since simplifiers share equal ones.
    """
    from onnx import TensorProto, numpy_helper

    hashes = {
        tensor.name: hashlib.sha256(str(tensor.dims).encode() + numpy_helper.to_array(tensor).tobytes()).hexdigest()
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
    }
    parts = [
        (linear.module, hashes[linear.weight], hashes[linear.bias] if linear.bias else None)
        for linear in linears(model)
    ]
    return hashlib.sha256(json.dumps([parts, sorted(set(hashes.values()))]).encode()).hexdigest()


def save_calibration(path: Path, record: CalibrationRecord, solved: Solved) -> None:
    """Write the file.

    Raises:
        EnvironmentFault: the disk is full, or the folder cannot be written.
    """
    arrays: dict[str, Any] = {
        "record": np.array(record_to_text(record)),
        "attention": np.array(json.dumps(dict(solved.attention))),
    }
    for tensor, problem in solved.problems.items():
        name = solved.groups[tensor].name
        assert problem.step is not None and problem.rounded is not None and problem.weight_step is not None
        move = problem.move or Move.none(len(problem.weight))
        outputs = len(problem.weight_step)
        correction = np.zeros(outputs, np.float32) if problem.correction is None else problem.correction
        codes = (problem.rounded / problem.weight_step).astype(np.float16)  # holds INT8's and E4M3's numbers exactly
        values = (move.shift, move.scale, np.float32(problem.step), codes, problem.weight_step, correction)
        arrays |= {f"{name}/{key}": value for key, value in zip(_ARRAYS, values, strict=True)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with disk_faults(path.parent), replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def read_record(path: Path) -> CalibrationRecord:
    """What the file was made from.

    Raises:
        BadInput: it is no such file.
        BadData: its record is.
    """
    return record_from_text(str(_read(path)["record"]))


def open_calibration(path: Path, model: ModelProto, chosen: Sequence[Linear], settings: Settings) -> Solved:
    """Apply a file's decisions to the graph that it was made for.

    Args:
        path: The file.
        model: FP32 graph; whoever calls has compared its fingerprint with the record's.
        chosen: The linears to quantize.
        settings: As the record says.

    Raises:
        BadInput: the file has no solution for one of the linears.
    """
    from onnx import numpy_helper

    stored = _read(path)
    wanted_modules = {linear.module for linear in chosen}
    # All that were solved are moved, as they were then: a projection's move stands in the codes of its qkv.
    known = {module for key in stored if key.endswith("/step") for module in key.rsplit("/", 1)[0].split("+")}
    solved = [linear for linear in linears(model) if linear.module in known | wanted_modules]
    groups = {group.activation: group for group in input_groups(model, solved)}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for group in groups.values():
        inputs = shapes[group.linears[0].weight][0]
        outputs = sum(shapes[linear.weight][1] for linear in group.linears)
        wanted = ((inputs,), (inputs,), (), (inputs, outputs), (outputs,), (outputs,))
        found = [stored.get(f"{group.name}/{key}") for key in _ARRAYS]
        if any(value is None or value.shape != shape for value, shape in zip(found, wanted, strict=True)):
            raise BadInput(
                f"{path} has no solution for {group.name}",
                needed="a calibration of every linear that is to be quantized",
                do="Calibrate again with --calib-data",
            )
    moves = {
        tensor: Move(stored[f"{group.name}/shift"], stored[f"{group.name}/scale"]) for tensor, group in groups.items()
    }
    graph = move_inputs(model, {tensor: (groups[tensor], move) for tensor, move in moves.items() if move.moves})
    now = {linear.module: linear for linear in linears(graph)}
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    problems, placed = {}, {}
    for tensor, group in groups.items():
        members = tuple(now[linear.module] for linear in group.linears)
        values = {key: stored[f"{group.name}/{key}"] for key in _ARRAYS}
        weight = np.concatenate([held[linear.weight] for linear in members], axis=1)
        biased = all(linear.bias for linear in members)
        bias = np.concatenate([held[str(linear.bias)] for linear in members]) if biased else None
        nothing = np.zeros((0, len(weight)), np.float32)
        correction = values["correction"] if values["correction"].any() else None
        problems[tensor] = LinearProblem(
            group.name,
            InputSample(tensor, nothing, nothing.sum(axis=0), nothing.sum(axis=0)),
            weight,
            bias,
            group.place,
            GRIDS[settings.grid],
            settings.method,
            moves[tensor],
            float(values["step"]),
            values["codes"].astype(np.float32) * values["weight_step"],
            values["weight_step"],
            correction,
        )
        placed[tensor] = replace(group, linears=members)
    whole = Solved(graph, placed, problems, settings, json.loads(str(stored["attention"])))
    return whole.restricted(
        [tensor for tensor, group in groups.items() if wanted_modules >= {linear.module for linear in group.linears}]
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            stored = {name: archive[name] for name in archive.files}
        for text in ("record", "attention"):
            json.loads(str(stored[text]))
    except _ERRORS as error:
        raise BadInput(
            f"{path} cannot be read as a calibration: {error}", needed="the file that a run with --int8 left"
        ) from error
    return stored
