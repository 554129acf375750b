"""One sentence that recommends INT8 or FP16, with the reason, from figures that were measured.

INT8 has two promises to keep: the accuracy, which is judged before anything else, and the time, for which alone it is
worth its trouble. What was not measured is said to be so; kernels that a builder lists are counted, but they are not
latency.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Figures", "Recommendation", "Speed", "recommend"]


@dataclass(frozen=True)
class Speed:
    """Engines timed side by side on one device, at one batch.

    Attributes:
        ratio: FP16's time over INT8's: above 1 INT8 is faster. A median over interleaved rounds.
        low: Lower quartile of the same.
        high: Upper quartile of the same.
        batch: Images a call.
        device: The GPU.
    """

    ratio: float
    low: float
    high: float
    batch: int
    device: str


@dataclass(frozen=True)
class Figures:
    """What is known of the quantized engine and of its FP16 rival.

    Attributes:
        executed: Whether anything in the quantized precision was executed at all.
        failed: What each failed gate saw, empty where all passed.
        drop: What the task loses, in words; empty where it was not judged.
        undecided: The same where the margin lies inside the interval; empty otherwise.
        unjudged: Why no drop was judged; empty where one was.
        speed: `None` where the two were not timed.
        kernels: Of the FP16 and of the quantized engine, where both builders listed theirs.
        bench: The command that times both on the device; empty where this run has not both.
        name: `INT8` or `FP8`.
    """

    executed: bool
    failed: tuple[str, ...] = ()
    drop: str = ""
    undecided: str = ""
    unjudged: str = ""
    speed: Speed | None = None
    kernels: tuple[int, int] | None = None
    bench: str = ""
    name: str = "INT8"


@dataclass(frozen=True)
class Recommendation:
    """What to deploy.

    Attributes:
        choice: `INT8`, `FP8` or `FP16`; `None` where the figures do not tell.
        sentence: The same with the reason.
    """

    choice: str | None
    sentence: str


def recommend(figures: Figures) -> Recommendation:
    """Accuracy first, then time."""
    name = figures.name
    if figures.failed:
        return _fp16(f"{name} failed its gates: {'; '.join(figures.failed)}")
    if not figures.executed:
        return _none(f"nothing in {name} was executed here")
    if figures.undecided:
        return _fp16(
            f"{name} is not shown to keep its accuracy: {figures.undecided}; a larger evaluation set would tell"
        )
    speed = figures.speed
    if speed is not None:
        measured = f"{speed.ratio:.2f} times FP16's speed at batch {speed.batch} on {speed.device}"
        quartiles = f"quartiles {speed.low:.2f} to {speed.high:.2f}"
        if speed.high < 1:
            return _fp16(f"{name} is slower, {measured} ({quartiles})")
        if speed.low <= 1:
            return _fp16(f"{name} gains no time that the rounds agree on, {measured} ({quartiles})")
        if figures.unjudged:
            return _none(f"{name} is faster, {measured} ({quartiles}), but {figures.unjudged}")
        return Recommendation(name, f"Recommended: {name}: {figures.drop}, and {measured} ({quartiles}).")
    accuracy = f"but {figures.unjudged}" if figures.unjudged else f"accuracy allows {name} ({figures.drop})"
    parts = [f"the time of {name} against FP16 was not measured", accuracy]
    if figures.kernels is not None:
        fp16, own = figures.kernels
        parts.append(f"the builder lists {own} kernels for {name} and {fp16} for FP16, which is no latency")
    if figures.bench:
        parts.append(f"on the device, `{figures.bench}` decides")
    if figures.unjudged:
        return _none("; ".join(parts))
    # INT8's one promise beside the accuracy is time, and on Swin it is often not kept: until it is seen, FP16.
    return _fp16("; ".join(parts))


def _fp16(reason: str) -> Recommendation:
    return Recommendation("FP16", f"Recommended: FP16: {reason}.")


def _none(reason: str) -> Recommendation:
    return Recommendation(None, f"No recommendation: {reason}.")
