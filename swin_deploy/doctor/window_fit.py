"""How windows fit a checkpoint's image size: where the shift is off, and what padding costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.doctor.line import Line, Verdict
from swin_deploy.errors import BadInput

__all__ = ["window_lines"]

Size = tuple[int, int]
# How far a size without padding is looked for, in steps of the smallest that patches and mergings allow.
_STEPS = 64


def window_lines(spec: SwinSpec) -> Iterator[Line]:
    """One line on the shift and one on padding."""
    yield _shift(spec)
    yield _padding(spec)


def _shift(spec: SwinSpec) -> Line:
    shown = [index for index, stage in enumerate(spec.stages) if stage.depth > 1]
    off = [index for index in shown if not spec.geometry(index, 1).shifted]
    if not off:
        return Line("checkpoint", "shift", Verdict.OK, "on in every stage" if shown else "none: stages have one block")
    listed = ", ".join(map(str, off))
    seen = f"off in stage {listed} of 0 to {len(spec.stages) - 1}, where the {spec.rule} code has one window"
    if off == shown:
        return Line(
            "checkpoint",
            "shift",
            Verdict.WARN,
            f"{seen}: windows never exchange anything",
            "Check --image-size and --window: this is what a wrong one looks like",
        )
    return Line("checkpoint", "shift", Verdict.OK, seen)


def _padding(spec: SwinSpec) -> Line:
    real = padded = 0
    stages = []
    for index, stage in enumerate(spec.stages):
        geometry = spec.geometry(index, 0)
        rows, columns = geometry.feature_map
        real += stage.depth * rows * columns
        padded += stage.depth * geometry.windows * geometry.tokens
        if geometry.padded:
            stages.append(f"{index} ({_size(geometry.feature_map)} to {_size(geometry.padded_map)})")
    height, width = spec.image_size
    reflected = spec.padded_image != spec.image_size
    if not stages and not reflected:
        return Line("checkpoint", "padding", Verdict.OK, f"none at an image of {_size(spec.image_size)}")
    parts = [f"stages {', '.join(stages)}: {100 * (padded / real - 1):.0f} % more tokens"] if stages else []
    if reflected:
        parts.append(f"the image goes from {_size(spec.image_size)} to {_size(spec.padded_image)}")
    fit = _fitting(spec)
    advice = f"--image-size {_size(fit)} needs none" if fit else "No size nearby needs none"
    return Line(
        "checkpoint",
        "padding",
        Verdict.WARN,
        "; ".join(parts),
        f"{advice}; padded tokens are exact, and cost time only" if (height, width) != fit else advice,
    )


def _fitting(spec: SwinSpec) -> Size | None:
    """The next larger size at which nothing is padded."""
    step = spec.patch * (2 ** (len(spec.stages) - 1) if spec.merging else 1)
    first = tuple(-(-side // step) for side in spec.image_size)
    for more in range(_STEPS):
        size = (first[0] + more) * step, (first[1] + more) * step
        try:
            candidate = replace(spec, image_size=size)
        except BadInput:
            continue
        if candidate.padded_image == size and not any(
            candidate.geometry(stage, 0).padded for stage in range(len(spec.stages))
        ):
            return size
    return None


def _size(size: Size) -> str:
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"
