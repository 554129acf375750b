"""The two forms of a model: built from its spec, written to a file, read back."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from torch import nn

from swin_deploy.checkpoint.form_file import read_form, write_form
from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.checkpoint.task import Restoration

__all__ = [
    "build_deployment",
    "build_reference",
    "open_deployment",
    "open_reference",
    "save_deployment",
    "save_reference",
    "spec_of",
]


def build_reference(spec: SwinSpec) -> nn.Module:
    """The paper form with fresh weights; `spec_of` gives its spec back."""
    if isinstance(spec.task, Restoration):
        from swin_deploy.model.restoration import ReferenceRestoration

        return ReferenceRestoration(spec)
    from swin_deploy.model.reference import ReferenceSwin

    return ReferenceSwin(spec)


def build_deployment(spec: SwinSpec) -> nn.Module:
    """The deployment form with fresh weights, which `fold` fills."""
    if isinstance(spec.task, Restoration):
        from swin_deploy.model.restoration import DeploymentRestoration

        return DeploymentRestoration(spec)
    from swin_deploy.model.deployment import DeploymentSwin

    return DeploymentSwin(spec)


def spec_of(model: nn.Module) -> SwinSpec:
    """The architecture of either form."""
    return cast(SwinSpec, model.spec)


def save_reference(model: nn.Module, path: Path) -> None:
    """Write canonical weights as safetensors, with the spec in the header."""
    write_form(model, spec_of(model), "reference", path)


def open_reference(path: Path) -> nn.Module:
    """Read what `save_reference` wrote, in evaluation mode.

    Raises:
        BadInput: the file is no such artifact or is damaged.
    """
    return read_form(build_reference, "reference", path)


def save_deployment(model: nn.Module, path: Path) -> None:
    """Write weights and constants as safetensors, with the spec in the header."""
    write_form(model, spec_of(model), "deployment", path)


def open_deployment(path: Path) -> nn.Module:
    """Read what `save_deployment` wrote, in evaluation mode and in the file's own type.

    Raises:
        BadInput: the file is no deployment artifact or is damaged.
    """
    return read_form(build_deployment, "deployment", path)
