"""Hugging Face's layout: the Swin and Swinv2 of transformers, bare, with its classifier or as a backbone.

Signs: `encoder.layers.{i}.blocks.{j}` beside `embeddings`, mostly under `swin.` or `swinv2.`. transformers 5 renamed
V1's modules in memory and still writes the classic names; either is read, as is the Swin in a detector or segmenter.
Source of the names: transformers 5.23, models/swin/modeling_swin.py, models/swinv2/modeling_swinv2.py and
models/maskformer/modeling_maskformer_swin.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial

from swin_deploy.checkpoint.detector import read_part
from swin_deploy.checkpoint.dialect import Layout, Sources, renamed
from swin_deploy.checkpoint.hints import ArchitectureHints
from swin_deploy.checkpoint.keys import KeyTable
from swin_deploy.errors import BadInput

__all__ = ["HuggingFace"]

# From the canonical name of a part of a block to theirs on disk.
_CLASSIC = (
    (r"^norm1\.", "layernorm_before."),
    (r"^norm2\.", "layernorm_after."),
    (r"^mlp\.0\.", "intermediate.dense."),
    (r"^mlp\.2\.", "output.dense."),
    (r"^attn\.proj\.", "attention.output.dense."),
    (r"^attn\.cpb_mlp\.", "attention.self.continuous_position_bias_mlp."),
    (r"^attn\.", "attention.self."),
)
# The same in memory since transformers 5, V1 alone.
_RENAMED = (
    (r"^norm1\.", "layernorm_before."),
    (r"^norm2\.", "layernorm_after."),
    (r"^mlp\.0\.", "mlp.fc1."),
    (r"^mlp\.2\.", "mlp.fc2."),
    (r"^attn\.proj\.", "attention.o_proj."),
    (r"^attn\.relative", "attention.relative_position_bias.relative"),
    (r"^attn\.", "attention."),
)
_BLOCK = re.compile(r"((?:.*\.)?)encoder\.layers\.\d+\.blocks\.\d+\.")


@dataclass(frozen=True)
class _Names:
    """Where the parts of a checkpoint are.

    Attributes:
        base: Prefix of the bare model, e.g. `swin.`.
        root: Prefix of the model around it, which has the head or the norms of the output stages.
        v2: Whether it is a Swinv2.
        in_memory: Whether blocks have transformers 5's new names.
        last_norm: Prefix of the norm behind the last stage.
        numbered_norms: Whether output norms are numbered from 0 (MaskFormer) rather than named after their stages.
    """

    base: str
    root: str
    v2: bool
    in_memory: bool
    last_norm: str
    numbered_norms: bool

    def sources(self, name: str) -> Sources:
        """See `Layout.sources`."""
        head, _, rest = name.partition(".")
        if head == "head":
            return (f"{self.root}classifier.{rest}",)
        if head == "norm":
            return (self.last_norm + rest,)
        if head == "out_norms":
            index, _, rest = rest.partition(".")
            stage = index if self.numbered_norms else f"stage{int(index) + 1}"
            return (f"{self.root}hidden_states_norms.{stage}.{rest}",)
        if head == "patch_embed":
            return (f"{self.base}embeddings." + renamed(rest, ((r"^proj\.", "patch_embeddings.projection."),)),)
        stage, part, rest = rest.split(".", 2)
        if part == "merge":
            return (f"{self.base}encoder.layers.{int(stage) - 1}.downsample.{rest}",)
        block, _, rest = rest.partition(".")
        return self._of_block(f"{self.base}encoder.layers.{stage}.blocks.{block}.", rest)

    def _of_block(self, prefix: str, name: str) -> Sources:
        rules = _RENAMED if self.in_memory else _CLASSIC
        found = re.fullmatch(r"attn\.qkv\.(weight|bias)", name)
        if not found:
            return (prefix + renamed(name, rules),)
        three = ("q_proj", "k_proj", "v_proj") if self.in_memory else ("query", "key", "value")
        sources = tuple(f"{prefix}{renamed(f'attn.{part}.', rules)}{found[1]}" for part in three)
        if self.v2 and found[1] == "bias":
            return sources[0], None, sources[2]
        return sources


@dataclass(frozen=True)
class HuggingFace:
    """transformers' Swin and Swinv2."""

    name: str = "huggingface"

    def recognises(self, table: KeyTable) -> str | None:
        """By the place of the blocks, beside `embeddings`."""
        base = _base(table)
        if base is None or not any(key.startswith(f"{base}embeddings.") for key in table.shapes):
            return None
        return f"{base}encoder.layers.*.blocks.* beside {base}embeddings"

    def layout(self, table: KeyTable, hints: ArchitectureHints) -> Layout:
        """See `Dialect.layout`."""
        names = _names(table)
        _refuse(table, names, hints)
        if names.v2:
            rule = "huggingface-v2"
        elif any(key.startswith(f"{names.root}hidden_states_norms.") for key in table.shapes):
            rule = "huggingface-backbone"
        else:
            rule = "huggingface"
        return Layout(
            "v2" if names.v2 else "v1",
            (rule, rule),
            names.sources,
            # The mask token stands in for patches that pretraining hides; nothing else asks for it.
            rebuilt=("relative_position_index", "relative_coords_table", "mask_token"),
            read=partial(read_part, names.root),
        )


def _base(table: KeyTable) -> str | None:
    """What stands before `encoder.layers`, the shortest where there are several."""
    bases = {found[1] for key in table.shapes if (found := _BLOCK.match(key))}
    return min(bases, key=len) if bases else None


def _names(table: KeyTable) -> _Names:
    keys = table.shapes
    base = _base(table) or ""
    root = re.sub(r"(^|\.)(?:swin|swinv2|model)\.$", r"\1", base)
    # `save_pretrained` leaves a backbone's last norm, which it has no use for, under `swin.` alone.
    last_norms = [f"{prefix}layernorm." for prefix in (base, f"{root}swin.")]
    return _Names(
        base,
        root,
        v2=any(key.endswith(".logit_scale") or ".continuous_position_bias_mlp." in key for key in keys),
        in_memory=any(".attention.q_proj." in key or ".attention.o_proj." in key for key in keys),
        last_norm=next((norm for norm in last_norms if f"{norm}weight" in keys), last_norms[0]),
        numbered_norms=any(re.match(re.escape(root) + r"hidden_states_norms\.\d", key) for key in keys),
    )


def _refuse(table: KeyTable, names: _Names, hints: ArchitectureHints) -> None:
    """Refuse what these models can have and the two forms have not.

    Raises:
        BadInput: naming it.
    """
    keys, origin = table.shapes, table.origin
    if f"{names.base}embeddings.position_embeddings" in keys:
        raise BadInput(
            f"{origin}: {names.base}embeddings.position_embeddings: the model adds a position to each patch",
            needed="a Swin with relative positions alone, use_absolute_embeddings=False",
            do="Bring the model itself with --model, which is deployed as it is",
        )
    if any(key.startswith(f"{names.root}hidden_states_norms.stem.") for key in keys):
        raise BadInput(
            f"{origin}: {names.root}hidden_states_norms.stem: the backbone also gives what its stem computes",
            needed="features of stages",
            do="Save the backbone without stem in its out_features",
        )
    if not names.root and any(key.startswith("decoder.") for key in keys):
        raise BadInput(
            f"{origin}: decoder.* reconstructs hidden patches: a model for masked image modeling",
            needed="a classifier, or a backbone",
            do="Fine-tune it as a SwinForImageClassification or a SwinBackbone, and bring that",
        )
    others = dict.fromkeys(key.partition(".")[0] for key in keys if not key.startswith(names.root))
    if others and hints.task != "backbone":
        raise BadInput(
            f"{origin}: the Swin under {names.root} is a part of a larger model, beside {', '.join(others)}",
            needed="a classifier, or a backbone",
            do="Give --task backbone for the features of its Swin alone, or bring the model itself with --model",
        )
