"""Quantize: calibrate the linears on real images and write explicit Q/DQ around them.

The way of one linear is `calib.tools`; that of a whole graph is `swin_deploy.quantization.solve`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from calib.cost import quantized_share
from calib.precision_plan import PrecisionPlan
from calib.preprocess import Preprocess
from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.atomic import write_bytes, write_text
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.fingerprint import configuration, key_of
from swin_deploy.onnx_graph.linears import Linear
from swin_deploy.onnx_graph.placement import POLICIES
from swin_deploy.parity.evaluation import EvaluationSet
from swin_deploy.quantization.calibration import Calibration
from swin_deploy.quantization.find_plan import Search, Searched
from swin_deploy.quantization.solve import Settings, Solved
from swin_deploy.stages.base import Produced
from swin_deploy.versions import installed

if TYPE_CHECKING:
    from onnx import ModelProto

    from calib.calibration_record import CalibrationRecord

__all__ = ["BESIDE", "LOGS", "STEP_BYTES", "Quantize"]

CALIBRATION, PLAN = "calibration.npz", "plan"
LOGS = ("search.jsonl", "search.few.jsonl")
"""Files of a search, likewise."""
BESIDE = (CALIBRATION, PLAN)
"""Files that are written beside the graph, behind the grid's name."""

# Below this many images ranges are noise; issue a note, as the ledger shows what it cost.
_FEW_IMAGES = 100
# The inputs of all quantized linears are in memory at once: 40 MiB an image of a Swin-T at 224x224, 870 at 800x1333.
STEP_BYTES = 1 << 30
# What other calibration sets would have given is shown on so many images.
_SPREAD_IMAGES = 1000
# FP32 rounding of the moved graph is about 1e-6; a wrong move changes the outputs by their own size.
_SAME = 1e-3


@dataclass(frozen=True)
class Quantize:
    """Post-training INT8 or FP8 with static ranges.

    Attributes:
        calibration: The calibration images; `None` where `reuse` stands for them.
        settings: Grid, range method and tools.
        placement: Name of a policy in `onnx_graph.placement`.
        exclude: Patterns of linears that stay in float.
        plan_file: A hand-written or searched plan.
        reuse: The calibration file of an earlier run.
        search: Search the plan on these images.
        seeds: Calibrations to compare, this one included; the others resample its images.
        judged: What they are compared on.
        preprocess: The transform of the model, which a reused calibration must have been made with.
        batch: Images a calibration step, at most: fewer of a dense network, whose activations fill `STEP_BYTES` sooner.
    """

    calibration: Calibration | None
    settings: Settings = field(default_factory=Settings)
    placement: str = "linears"
    exclude: tuple[str, ...] = ()
    plan_file: str | None = None
    reuse: str | None = None
    search: Search | None = None
    seeds: int = 1
    judged: EvaluationSet | None = None
    preprocess: Preprocess | None = None
    batch: int = 32
    name: str = "quantize"
    suffix: str = ".onnx"

    def __post_init__(self) -> None:
        """Refuse a policy that does not exist, an empty batch, and no data."""
        if self.placement not in POLICIES:
            raise BadInput(f"no placement {self.placement!r}", needed="one of " + ", ".join(POLICIES))
        if self.batch < 1:
            raise BadInput(f"a calibration batch of {self.batch}", needed="at least 1 image")
        if self.calibration is None and self.reuse is None:
            raise UsageFault("quantization without data", needed="calibration images, or an earlier calibration")
        if self.calibration is None and self.preprocess is None:
            raise UsageFault("an earlier calibration without a transform", needed="the transform of the model")

    @property
    def precision(self) -> Precision:
        """Of the graph that it writes."""
        return Precision(self.settings.grid)

    @property
    def accepts(self) -> frozenset[tuple[Format, Precision]]:
        """See `Stage.accepts`."""
        return frozenset({(Format.ONNX, Precision.FP32)})

    @property
    def produces(self) -> tuple[Format, Precision]:
        """See `Stage.produces`."""
        return Format.ONNX, self.precision

    def tools(self) -> Mapping[str, str]:
        """See `Stage.tools`. A file is part of the key by its content."""
        from swin_deploy.atomic import file_sha256

        given = (self.plan_file, self.reuse, self.search.timings if self.search else None)
        files = {f"file {path}": file_sha256(Path(path)) for path in given if path}
        return {**installed("onnx", "onnxruntime", "numpy"), **files}

    def unavailable(self) -> str | None:
        """See `Stage.unavailable`."""
        return None

    def run(self, parent: Artifact, out: Path) -> Produced:
        """See `Stage.run`."""
        import onnx

        from swin_deploy.onnx_graph.census import graph_facts
        from swin_deploy.onnx_graph.names import set_metadata
        from swin_deploy.onnx_graph.quantization_audit import require_clean
        from swin_deploy.quantization.calibration_file import save_calibration
        from swin_deploy.quantization.choose_linears import choose_linears, macs_of

        model = onnx.load(parent.path)
        grid = self.settings.grid
        plan, possible = choose_linears(model, grid, self.placement, self.plan_file, self.exclude)
        work = _Work(self, model, parent.path, possible)
        chosen = [linear for linear in possible if linear.module in plan.quantized]
        record, macs = work.record(), macs_of(model, possible, work.one_image)
        searched: Searched | None = None
        if self.reuse is not None:
            solved = work.reused(Path(self.reuse), chosen, record)
        else:
            whole = solved = work.solved(chosen, self.settings)
            if self.search is not None:
                searched = work.searched(whole, record, macs, out.parent / f"{grid}.{LOGS[0]}")
                # A search without a result leaves everything in: the file then shows how far off it is.
                if searched.choice:
                    chosen_by = searched.choice
                    solved = whole.restricted([t for t, group in whole.groups.items() if group.name in chosen_by])
                    plan = PrecisionPlan.quantizing(plan.precisions, work.modules(solved), grid)
        work.require_same_function(solved)
        quantized = solved.quantized()
        written = {
            "grid": grid,
            "tools": list(self.settings.tools),
            "method": self.settings.method,
            "linears": list(plan.quantized),
            "attention": work.attention,
        }
        set_metadata(quantized, precision=grid, quantization=json.dumps(written))
        audit = require_clean(quantized, plan.quantized, attention=work.attention)
        onnx.checker.check_model(quantized, full_check=True)
        onnx.save(quantized, out)
        beside = out.parent / f"{grid}.{CALIBRATION}"
        if self.reuse is not None:
            write_bytes(beside, Path(self.reuse).read_bytes())  # whole, also where this run takes less of it
        else:
            save_calibration(beside, record, whole)
        write_text(out.parent / f"{grid}.{PLAN}", plan.to_text(macs))
        facts = {
            **graph_facts(quantized),
            "quantized_linears": list(plan.quantized),
            "left_in_float": [name for name in plan.precisions if name not in plan.quantized],
            "macs_share": quantized_share(plan, macs),
            "calibration": record.to_json(),
            "solutions": work.solutions(solved),
            "audit": audit,
            **({"search": searched.to_json()} if searched else {}),
        }
        if searched and not searched.choice:
            facts["refused"] = f"no {grid} plan has its drop within the limit: {searched.reason}"
        if self.seeds > 1 and self.judged is not None and self.calibration is not None:
            facts["seeds"] = work.spread(solved)
        return Produced(facts, self._notes(record, searched))

    def _notes(self, record: CalibrationRecord, searched: Searched | None) -> tuple[str, ...]:
        notes = [] if searched is None else [f"search: {searched.reason}"]
        if record.used < _FEW_IMAGES:
            notes.append(f"only {record.used} calibration images: ranges from fewer than {_FEW_IMAGES} are noisy")
        return tuple(notes)


class _Work:
    """One run of the stage: what its steps share."""

    def __init__(self, stage: Quantize, model: ModelProto, path: Path, possible: Sequence[Linear]) -> None:
        from swin_deploy.backends.onnxruntime import tensors_of

        self.stage, self.model, self.path, self.possible = stage, model, path, possible
        wanted = tuple(axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim[1:])
        if stage.calibration is None:
            first = np.zeros((1, *wanted), np.float32)
        else:
            prepare = stage.calibration.preprocess
            if wanted[-2:] != (prepare.height, prepare.width):
                raise BadInput(
                    f"the preprocessing gives images of {prepare.height}x{prepare.width}",
                    needed=f"{wanted[-2]}x{wanted[-1]}, the size that the graph was exported for",
                )
            first = prepare.batch([stage.calibration.images[0]])
        names = [linear.activation for linear in possible]
        (values,) = tensors_of(path, names, [first])
        self.one_image: Mapping[str, np.ndarray] = values

    def record(self) -> CalibrationRecord:
        """Where the scales come from."""
        from calib.calibration_record import CalibrationRecord
        from swin_deploy.quantization.calibration_file import graph_fingerprint, read_record

        method = {
            "grid": self.stage.settings.grid,
            "ranges": self.stage.settings.method,
            "tools": list(self.stage.settings.tools),
        }
        fingerprint = graph_fingerprint(self.model)
        calibration = self.stage.calibration
        if calibration is None:
            assert self.stage.reuse is not None and self.stage.preprocess is not None
            transform = self.stage.preprocess.to_json()
            earlier = read_record(Path(self.stage.reuse))
            return replace(earlier, preprocess=transform, method=method, graph_sha256=fingerprint)
        return CalibrationRecord.of(
            calibration.images,
            available=calibration.available,
            limit=calibration.limit,
            seed=calibration.seed,
            preprocess=calibration.preprocess,
            method=method,
            graph_sha256=fingerprint,
        )

    def reused(self, file: Path, chosen: Sequence[Linear], record: CalibrationRecord) -> Solved:
        """An earlier run's decisions, if they were made for the same network, transform, method and images."""
        from swin_deploy.quantization.calibration_file import open_calibration, read_record

        record.require_same(read_record(file))
        solved = open_calibration(file, self.model, chosen, self.stage.settings)
        if not self.attention:
            return replace(solved, attention={})
        if not solved.attention:
            raise BadInput(
                f"{file} has no ranges of the attention's products, which the placement {self.stage.placement} wants",
                needed="a calibration of the same placement",
                do="Calibrate again with --calib-data",
            )
        return solved

    def solved(self, chosen: Sequence[Linear], settings: Settings, images: Sequence[int] | None = None) -> Solved:
        """Calibrate on all images, or on those at `images`, and solve every chosen linear."""
        from swin_deploy.backends.onnxruntime import tensors_of
        from swin_deploy.onnx_graph.input_groups import input_groups
        from swin_deploy.quantization.solve import observe, sample_inputs, solve

        assert self.stage.calibration is not None
        shown = range(len(self.stage.calibration.images)) if images is None else images
        groups = input_groups(self.model, chosen)
        samples = sample_inputs(self.model, self.path, groups, self._batches(shown), len(shown), settings.seed)
        observed = observe(tensors_of(self.path, list(samples), self._batches(shown)), settings, len(shown))
        solved = solve(self.model, chosen, samples, settings, observed)
        return replace(solved, attention=self._attention_ranges(solved, shown)) if self.attention else solved

    @property
    def attention(self) -> bool:
        """Whether the attention's products are quantized too."""
        return POLICIES[self.stage.placement].attention

    def _attention_ranges(self, solved: Solved, shown: Sequence[int]) -> Mapping[str, float]:
        """Ranges at the attention's products, in the moved graph, whose values are scaled."""
        from swin_deploy.backends.onnxruntime import tensors_of
        from swin_deploy.onnx_graph.attention_qdq import tensors_to_range
        from swin_deploy.quantization.solve import observe

        # No linear reads them, so that an error behind one cannot be had.
        settings = replace(solved.settings, method="mse")
        values = tensors_of(solved.graph, tensors_to_range(solved.graph), self._batches(shown))
        found = observe(values, settings, len(shown))
        assert found is not None, "an observer's method"
        return found

    def _batches(self, shown: Sequence[int]) -> Iterator[np.ndarray]:
        calibration = self.stage.calibration
        assert calibration is not None
        for start in range(0, len(shown), self.step):
            yield calibration.preprocess.batch(calibration.images[i] for i in shown[start : start + self.step])

    @property
    def step(self) -> int:
        """Images that are run at once."""
        return max(1, min(self.stage.batch, STEP_BYTES // sum(values.nbytes for values in self.one_image.values())))

    def searched(self, solved: Solved, record: CalibrationRecord, macs: Mapping[str, int], log: Path) -> Searched:
        """Search among the plans of `solved`; what is built is what was judged."""
        from swin_deploy.quantization.find_plan import find_plan

        search, calibration = self.stage.search, self.stage.calibration
        assert search is not None and calibration is not None
        key = key_of(
            record.graph_sha256,
            configuration(calibration),
            configuration(self.stage.settings),
            configuration(search),
            self.modules(solved),
            self.stage.placement,
            dict(self.stage.tools()),
        )
        return find_plan(solved, search, macs, log, key)

    def modules(self, solved: Solved) -> list[str]:
        """The linears that a solution quantizes."""
        return [linear.module for group in solved.groups.values() for linear in group.linears]

    def require_same_function(self, solved: Solved) -> None:
        """Moves must not change what the float graph computes.

        Raises:
            BadInput: they do: the graph is none that this toolkit understands.
        """
        from swin_deploy.backends.onnxruntime import outputs_of

        calibration = self.stage.calibration
        if calibration is None:
            return  # the record said that the network is the one that was checked then
        batch = calibration.preprocess.batch([calibration.images[0]])
        (wanted,), (found,) = (list(outputs_of(graph, [batch])) for graph in (self.model, solved.graph))
        for name, values in wanted.items():
            error = float(np.abs(found[name] - values).max() / max(float(np.abs(values).max()), 1e-30))
            if not error <= _SAME:
                raise BadInput(
                    f"moving the linears' inputs changed output {name} by {error:.2g} of its size",
                    needed="a network whose LayerNorms and attention are what their names say",
                    do="Leave the tool `balance` out of --calib-tools",
                )

    def solutions(self, solved: Solved) -> dict[str, Any]:
        """What was done to each linear, for the manifest."""
        return {
            solved.groups[tensor].name: {
                "place": problem.place.value,
                "step": problem.step,
                "trials": [trial.to_json() for trial in problem.trials],
            }
            for tensor, problem in solved.problems.items()
        }

    def spread(self, solved: Solved) -> list[dict[str, Any]]:
        """What other calibrations of the same size give: each resamples the images with replacement."""
        from swin_deploy.quantization.graph_judge import QUANTIZED, GraphJudge

        stage = self.stage
        assert stage.judged is not None and stage.calibration is not None
        found, kept = [], set(self.modules(solved))
        for seed in range(stage.seeds):
            this = solved
            if seed:
                count = len(stage.calibration.images)
                drawn = np.random.default_rng([stage.settings.seed, seed]).integers(0, count, count)
                settings = replace(stage.settings, seed=stage.settings.seed + seed)
                members = [linear for linear in self.possible if linear.module in kept]
                this = self.solved(members, settings, [int(i) for i in np.sort(drawn)])
            judge = GraphJudge(this, stage.judged.first(_SPREAD_IMAGES), batch=self.step)
            everything = dict.fromkeys(judge.candidates, QUANTIZED)
            distance, drop = judge.distance(everything), judge.drop(everything)
            found.append(
                {
                    "seed": seed,
                    "sqnr_db": distance.sqnr_db,
                    "agreement": distance.agreement,
                    "drop": None if drop is None else drop.drop,
                }
            )
        return found
