"""What a run was made with, as names and texts: its tools and the options that were given."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields

from swin_deploy.manifest import Manifest
from swin_deploy.recipe import Recipe

__all__ = ["options_given", "tools_of"]


def tools_of(manifest: Manifest) -> dict[str, str]:
    """Every tool with its version; with several, all of them."""
    found: dict[str, list[str]] = {}
    for step in manifest.steps:
        for name, version in step.tools.items():
            found.setdefault(name, []).append(str(version))
    return {name: ", ".join(dict.fromkeys(versions)) for name, versions in found.items()}


def options_given(manifest: Manifest) -> dict[str, str]:
    """The options of the recipe that differ from what `build` takes by itself."""
    usual = {field.name: field.default for field in fields(Recipe) if field.default is not MISSING}
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in manifest.recipe.items()
        if name not in usual or json.dumps(value) != json.dumps(usual[name])
    }
