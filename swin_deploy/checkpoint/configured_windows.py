"""Which windows a model has, and which it was pre-trained with: from its tables, what stands beside it, and options.

Tables tell the window in force in training. At another image size, or with another window, it takes the configured
window and the code base's rule to know the one in force now; where the two cannot be told apart, the user is asked.
"""

from __future__ import annotations

from dataclasses import replace

from swin_deploy.checkpoint.facts import Facts, StageFacts, offsets, size_text
from swin_deploy.checkpoint.hints import ArchitectureHints
from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.errors import BadInput
from swin_deploy.model.geometry import RULES

__all__ = ["whole_spec"]

Size = tuple[int, int]


def whole_spec(facts: Facts, draft: SwinSpec, stages: tuple[StageFacts, ...]) -> SwinSpec:
    """`draft` with the windows in force and the attention.

    Raises:
        BadInput: the windows cannot be told from the weights and the hints.
    """
    finished = []
    for index, stage in enumerate(draft.stages):
        pretrained, shifts = None, True
        if draft.family == "v1":
            window = _v1_window(facts, draft, stages, index, draft.feature_map(index))
        else:
            window, pretrained = _v2_windows(facts, draft, stages, index)
        if draft.geometry_rule.as_built:
            window, shifts = _built(facts, draft, index, window)
            if index == 0:
                size = facts.hints.trained_size or draft.image_size
                facts.evidence.append(f"windows and shifts as built for images of {size_text(size)}")
        finished.append(replace(stage, window=window, pretrained_window=pretrained, shifts=shifts))
    return replace(draft, stages=tuple(finished), attention=facts.hints.attention)


def _v1_window(facts: Facts, draft: SwinSpec, stages: tuple[StageFacts, ...], index: int, feature_map: Size) -> Size:
    """The configured window of a V1 stage; whether its table fits the window in force is seen when it is read."""
    found, hints, origin = stages[index].table, facts.hints, facts.table.origin
    stated = hints.window_of(index)
    rule = RULES[draft.rule]
    if found is None:  # an attention without a table
        if stated is None:
            raise BadInput(
                f"{origin}: the attention {hints.attention} has no bias table to tell its window, and {hints.unstated}",
                needed="the window in tokens",
                do="Give --window N, or put a JSON beside the checkpoint",
            )
        return stated
    tables = [stage.table for stage in stages if stage.table is not None]
    largest = max(tables, key=lambda size: size[0] * size[1])
    if index == 0:
        facts.evidence.append(f"window {found[0]}x{found[1]}: bias table of {offsets(found)} rows")
    if stated is not None and not hints.window_option and rule.clip == "never" and stated != found:
        raise _contradicted(origin, found, stated, hints)
    if hints.window_option and stated is not None:
        return stated
    if hints.stage_windows is not None and stated is not None:
        if not _follows(draft, index, found, stated, hints):
            raise _contradicted(origin, found, stated, hints)
        return stated
    if rule.clip == "never" or found == largest:
        if stated is not None and (stated[0] < largest[0] or not _follows(draft, index, found, stated, hints)):
            raise _contradicted(origin, largest, stated, hints)
        return found
    # A smaller table than others have: of a clipped window, or of a window of its own.
    if rule.block(feature_map, largest, odd=True) == rule.block(feature_map, found, odd=True):
        return largest  # at this size it makes no difference
    if hints.trained_size is None:
        raise BadInput(
            f"{origin}: stage {index} has bias tables of a window of {size_text(found)}, the largest window is "
            f"{size_text(largest)}, and the image gives it a feature map of {size_text(feature_map)}",
            needed="to know whether its window was clipped in training: then the table has to be interpolated",
            do=f"Give --window {size_text(largest)} if it was, or the training's img_size in a JSON beside the file",
        )
    if not _leaves(draft, index, largest, found, hints.trained_size):
        return found
    if not all(_leaves(draft, other, largest, table, hints.trained_size) for other, table in enumerate(tables)):
        raise BadInput(
            f"{origin}: stages have windows of their own ({', '.join(map(size_text, tables))}), and nothing tells "
            f"whether that of stage {index} was clipped in training, where its feature map was no larger",
            needed="the window of each stage, to run at another size than that of the training",
            do="Give window_size with one entry a stage in a JSON beside the checkpoint",
        )
    return largest


def _leaves(draft: SwinSpec, index: int, window: Size, found: Size, trained: Size) -> bool:
    """Whether `found` is what the training's map leaves of a window."""
    at = replace(draft, image_size=trained).feature_map(index)
    return draft.geometry_rule.block(at, window, odd=False).window == found


def _follows(draft: SwinSpec, index: int, found: Size, stated: Size, hints: ArchitectureHints) -> bool:
    """Whether the window of a table is what the training's map leaves of the stated one, as far as that is known."""
    if hints.trained_size is None or stated == found:
        return found[0] <= stated[0] and found[1] <= stated[1]
    return _leaves(draft, index, stated, found, hints.trained_size)


def _contradicted(origin: str, found: Size, stated: Size, hints: ArchitectureHints) -> BadInput:
    return BadInput(
        f"{origin}: its bias tables are those of a window of {size_text(found)}, and {hints.source} says "
        f"{size_text(stated)}",
        needed="one window: a V1's is in its bias tables",
        do="Mend the JSON beside the checkpoint, or give --window to have the tables interpolated",
    )


def _built(facts: Facts, draft: SwinSpec, index: int, window: Size) -> tuple[Size, bool]:
    """What a code base that settles window and shift in its constructor made of a configured window."""
    height, width = facts.hints.trained_size or draft.image_size
    return draft.geometry_rule.built((height // draft.patch, width // draft.patch), index, window)


def _in_force(facts: Facts, draft: SwinSpec, index: int, window: Size) -> Size:
    """What is left of a configured window."""
    if draft.geometry_rule.as_built:
        return _built(facts, draft, index, window)[0]
    return draft.geometry_rule.block(draft.feature_map(index), window, odd=False).window


def _v2_windows(facts: Facts, draft: SwinSpec, stages: tuple[StageFacts, ...], index: int) -> tuple[Size, Size]:
    """V2's configured window and the one that normalises its coordinates: from a saved table, else from the hints."""
    hints, found = facts.hints, stages[index]
    if found.table is not None and found.normaliser is not None and not hints.window_option:
        if index == 0:
            facts.evidence.append(f"window {size_text(found.table)}: relative_coords_table")
        window = _v2_table_window(facts, draft, stages, index, found.table)
        in_force = _in_force(facts, draft, index, window)
        # Coordinates normalised by the window itself are so again when the window is clipped to a smaller map.
        itself = found.normaliser == found.table
        if hints.pretrained_window is not None and hints.pretrained_option:
            return window, _stated(hints.pretrained_window, index, in_force, window, facts)
        return window, in_force if itself else found.normaliser
    stated = hints.window_of(index)
    if stated is None or hints.pretrained_window is None:
        missing = "--window" if stated is None else "--pretrained-window"
        raise BadInput(
            f"{facts.table.origin}: a Swin V2's {missing[2:].replace('-', ' ')} is in no tensor, and {hints.unstated}",
            needed="the window, and the window it was pre-trained with (the same one if there was no other)",
            do="Give --window N --pretrained-window N, or put a JSON beside the checkpoint",
        )
    if index == 0:
        facts.evidence.append(f"window {size_text(stated)}: {hints.source}")
    in_force = _in_force(facts, draft, index, stated)
    return stated, _stated(hints.pretrained_window, index, in_force, stated, facts)


def _v2_table_window(facts: Facts, draft: SwinSpec, stages: tuple[StageFacts, ...], index: int, found: Size) -> Size:
    """The configured window of a stage with a saved coordinate table, which may be that of a clipped window."""
    hints, origin, rule = facts.hints, facts.table.origin, draft.geometry_rule
    stated = hints.window_of(index)
    if stated is not None and not rule.as_built and not _follows(draft, index, found, stated, hints):
        raise BadInput(
            f"{origin}: the relative_coords_table of stage {index} is that of a window of {size_text(found)}, and "
            f"{hints.source} says {size_text(stated)}",
            needed="one window",
            do="Mend the JSON beside the checkpoint, or give --window and --pretrained-window",
        )
    largest = max((stage.table for stage in stages if stage.table is not None), key=lambda size: size[0] * size[1])
    configured = stated or largest
    feature_map = draft.feature_map(index)
    if rule.block(feature_map, configured, odd=True) == rule.block(feature_map, found, odd=True):
        return found
    if stated is not None:
        return stated
    every = ",".join(size_text(stage.table) for stage in stages if stage.table is not None)
    raise BadInput(
        f"{origin}: the relative_coords_table of stage {index} is that of a window of {size_text(found)}, the largest "
        f"window is {size_text(largest)}, and the image gives the stage a feature map of {size_text(feature_map)}",
        needed="to know whether its window was clipped in training",
        do=f"Give --window {size_text(largest)} --pretrained-window {every} if it was",
    )


def _stated(entries: tuple[Size, ...], index: int, in_force: Size, window: Size, facts: Facts) -> Size:
    """The normalising window of a stage as it is stated."""
    count = facts.stages()
    asked = facts.hints.pretrained_option
    if 1 < len(entries) < count or (asked and len(entries) > count):  # timm's default has four for any number
        raise BadInput(
            f"{facts.table.origin}: {len(entries)} pretrained windows are stated, and there are {count} stages",
            needed="one for all, or one a stage",
            do="Check --pretrained-window and the JSON beside the checkpoint",
        )
    stated = entries[min(index, len(entries) - 1)]
    if stated == (0, 0):
        return in_force
    if len(entries) == 1 and in_force != window and stated != window:
        raise BadInput(
            f"{facts.table.origin}: one pretrained window, {size_text(stated)}, is stated for all, and stage {index} "
            f"has a window of {size_text(in_force)}, clipped from {size_text(window)}",
            needed="the pretrained window of each stage, since that of a clipped one is usually smaller",
            do="Give --pretrained-window with one entry a stage, for example 12,12,12,6",
        )
    return in_force if len(entries) == 1 and stated == window else stated
