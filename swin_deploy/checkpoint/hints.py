"""Facts about a model that no tensor holds: from options, or from what stands beside the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["TASKS", "ArchitectureHints"]

Size = tuple[int, int]
TASKS = ("classification", "backbone", "restoration")

_NOTHING = "nothing beside the checkpoint"


@dataclass(frozen=True)
class ArchitectureHints:
    """`None` means not stated; nothing is ever guessed.

    Attributes:
        image_size: Height and width in pixels that the model is to run at.
        window: Configured window in tokens.
        pretrained_window: V2: one entry a stage, or one for all; (0, 0) means the window itself.
        source: Where the facts come from, for messages.
        trained_size: Height and width in pixels of its training, where that is known.
        heads: One entry a stage, for an attention whose weights do not tell.
        task: One of `TASKS`, where it is not left to the keys.
        out_stages: Stages whose features a backbone gives.
        attention: `window`, a shipped variant, or `package.module:Class`.
        norm_eps: LayerNorm's epsilon.
        image_range: Restoration: factor on the input.
        window_option: Whether the window was given as an option, and is meant to differ from the trained one.
        stage_windows: Configured windows in tokens, where each stage has its own (timm's swin_s3); without, `window`
            is that of all.
    """

    image_size: Size | None = None
    window: Size | None = None
    pretrained_window: tuple[Size, ...] | None = None
    source: str = _NOTHING
    trained_size: Size | None = None
    heads: tuple[int, ...] | None = None
    task: str | None = None
    out_stages: tuple[int, ...] | None = None
    attention: str = "window"
    norm_eps: float | None = None
    image_range: float | None = None
    window_option: bool = False
    stage_windows: tuple[Size, ...] | None = None

    @property
    def unstated(self) -> str:
        """That a fact was stated nowhere, as the end of a sentence."""
        return f"{self.source} states it" if self.source == _NOTHING else f"{self.source} does not state it"

    @property
    def pretrained_option(self) -> bool:
        """Whether the pretrained window was given as an option, which `source` names."""
        return "--pretrained-window" in self.source

    def window_of(self, stage: int) -> Size | None:
        """The configured window of a stage, `None` where it is not stated."""
        if self.stage_windows is None:
            return self.window
        return self.stage_windows[min(stage, len(self.stage_windows) - 1)]

    def overridden(
        self,
        *,
        image_size: Size | None = None,
        window: Size | None = None,
        pretrained_window: tuple[Size, ...] | None = None,
        task: str | None = None,
        out_stages: tuple[int, ...] | None = None,
        attention: str | None = None,
        image_range: float | None = None,
    ) -> ArchitectureHints:
        """These hints with the user's options on top."""
        given = [
            option
            for option, value in (
                ("--image-size", image_size),
                ("--window", window),
                ("--pretrained-window", pretrained_window),
                ("--task", task),
                ("--out-stages", out_stages),
                ("--attention", attention),
                ("--image-range", image_range),
            )
            if value is not None
        ]
        pretrained = pretrained_window or self.pretrained_window
        if window not in (None, self.window) and not pretrained_window and pretrained and (0, 0) in pretrained:
            pretrained = None  # "the window itself" was said of another window
        return replace(
            self,
            image_size=image_size or self.image_size,
            trained_size=self.trained_size or self.image_size,
            window=window or self.window,
            pretrained_window=pretrained,
            task=task or self.task,
            out_stages=out_stages or self.out_stages,
            attention=attention or self.attention,
            image_range=self.image_range if image_range is None else image_range,
            source=" and ".join([self.source, *given] if self.source != _NOTHING else given) or _NOTHING,
            window_option=window is not None,
            stage_windows=self.stage_windows if window is None else None,
        )
