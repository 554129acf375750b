"""Whether TensorRT can fuse a checkpoint's attention, by NVIDIA's documented bounds.

FP16 and BF16: head size 16 to 256, divisible by 8. INT8: head size 16, 32 or 64, and at most 512 tokens. Source: NVIDIA
TensorRT documentation, "Working with Transformers", fused attention. Zero channels that are added to a head are exact:
`fusible_head_dim` of model/deployment.py adds them up to the next multiple of 8.
"""

from __future__ import annotations

from collections.abc import Iterator

from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.doctor.line import Line, Verdict

__all__ = ["attention_lines"]

_INT8_HEADS, _INT8_TOKENS = (16, 32, 64), 512
_LARGEST_HEAD = 256


def attention_lines(spec: SwinSpec) -> Iterator[Line]:
    """One line for FP16 and one for INT8 attention."""
    if spec.attention != "window":
        yield Line(
            "checkpoint",
            "fused attention",
            Verdict.WARN,
            f"the attention {spec.attention} is not the window's, whose bounds are known",
            "Look into the audit of a built engine for what became of it",
        )
        return
    from swin_deploy.model.deployment import fusible_head_dim

    tokens = max(spec.geometry(stage, block).tokens for stage, block in spec.blocks())
    heads = {stage.head_dim: fusible_head_dim(stage.head_dim) for stage in spec.stages}
    listed = ", ".join(
        str(size) if size == padded else f"{size} (with {padded - size} zero channels {padded}, which is exact)"
        for size, padded in sorted(heads.items())
    )
    seen = f"heads of {listed} channels, windows of up to {tokens} tokens"
    if max(heads.values()) > _LARGEST_HEAD:
        yield Line(
            "checkpoint",
            "FP16 attention",
            Verdict.WARN,
            f"{seen}: fused are heads of 16 to {_LARGEST_HEAD}",
            "Expect unfused attention: scores go through memory, so leave room for them and measure",
        )
    else:
        yield Line("checkpoint", "FP16 attention", Verdict.OK, f"{seen}: within the bounds of fused attention")
    reasons = []
    wrong = sorted(padded for padded in heads.values() if padded not in _INT8_HEADS)
    if wrong:
        reasons.append(f"heads of {', '.join(map(str, wrong))} are not 16, 32 or 64")
    if tokens > _INT8_TOKENS:
        reasons.append(f"{tokens} tokens a window are more than {_INT8_TOKENS}")
    if reasons:
        yield Line(
            "checkpoint",
            "INT8 attention",
            Verdict.WARN,
            " and ".join(reasons),
            "Keep attention in FP16: --placement linears (the default) quantizes the linears alone",
        )
    else:
        yield Line("checkpoint", "INT8 attention", Verdict.OK, "within the bounds of fused attention in INT8")
