"""Swin's windows by loops over tokens, and four attentions by loops over heads, tokens and slots, in FP64.

Nothing here comes from the package but the weights of a module: windows, regions and bias rows are worked out anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from swin_deploy.model.geometry import BlockGeometry

__all__ = ["Token", "apart", "channel_gate", "linformer", "performer", "regions", "routing"]


@dataclass(frozen=True)
class Token:
    """A token of a window: its place there, and its row and column in the map, or `None` for padding."""

    place: int
    where: tuple[int, int] | None


def regions(geometry: BlockGeometry) -> list[list[list[Token]]]:
    """For each window its regions, each a list of tokens."""
    (height, width), (rows, columns), shift = geometry.feature_map, geometry.window, geometry.shift
    tall, wide = height, width
    while tall % rows:
        tall += 1
    while wide % columns:
        wide += 1
    found = []
    for top in range(0, tall, rows):
        for left in range(0, wide, columns):
            parts: dict[tuple[bool, bool], list[Token]] = {}
            for place in range(rows * columns):
                row, column = top + place // columns, left + place % columns  # in the rolled map
                came_round = row + shift[0] >= tall, column + shift[1] >= wide
                parts.setdefault(came_round, []).append(Token(place, _origin(geometry, row, column, tall, wide)))
            found.append(list(parts.values()))
    return found


def _origin(geometry: BlockGeometry, row: int, column: int, tall: int, wide: int) -> tuple[int, int] | None:
    (height, width), shift = geometry.feature_map, geometry.shift
    if geometry.roll_first:  # the map itself was rolled, and then padded
        inside = row < height and column < width
        return ((row + shift[0]) % height, (column + shift[1]) % width) if inside else None
    where = (row + shift[0]) % tall, (column + shift[1]) % wide
    return where if where[0] < height and where[1] < width else None


def apart(attention: Any, x: Tensor, region: Callable[..., list[Tensor]]) -> Tensor:
    """Attention in which each region of each window is by itself.

    Args:
        attention: A module with `qkv`, `proj` and `heads`.
        x: [B, H, W, C].
        region: From the tokens of a region and their queries, keys and values of one head, lists of [d] in the order of
            the tokens, and the head, to their outputs.
    """
    out = attention.proj.bias.expand(x.shape).clone()
    channels = x.shape[-1]
    size = channels // attention.heads
    for image in range(len(x)):
        for window in regions(attention.geometry):
            for tokens in window:
                zeros = torch.zeros(channels, dtype=x.dtype)
                given = [zeros if t.where is None else x[image][t.where] for t in tokens]
                qkv = [attention.qkv.weight @ h + attention.qkv.bias for h in given]
                joined = [torch.zeros(channels, dtype=x.dtype) for _ in tokens]
                for head in range(attention.heads):
                    q, k, v = (
                        [row[part * channels + head * size : part * channels + (head + 1) * size] for row in qkv]
                        for part in range(3)
                    )
                    for number, result in enumerate(region(tokens, q, k, v, head)):
                        joined[number][head * size : (head + 1) * size] = result
                for token, row in zip(tokens, joined, strict=True):
                    if token.where is not None:
                        out[image][token.where] = attention.proj.weight @ row + attention.proj.bias
    return out


def bias(attention: Any, query: Token, key: Token, head: int) -> Tensor:
    """The entry of V1's table for a pair of tokens."""
    rows, columns = attention.geometry.window
    down = query.place // columns - key.place // columns
    right = query.place % columns - key.place % columns
    number = (down + rows - 1) * (2 * columns - 1) + right + columns - 1
    return attention.relative_position_bias_table[number, head]


def softmax(scores: list[Tensor]) -> list[Tensor]:
    powers = [score.exp() for score in scores]
    return [power / sum(powers) for power in powers]


def linformer(attention: Any, x: Tensor) -> Tensor:
    slots = range(len(attention.key_projection))

    def region(tokens: list[Token], q: Any, k: Any, v: Any, head: int) -> list[Tensor]:
        e, f = attention.key_projection, attention.value_projection
        keys = [sum(e[s, t.place] * k[j] for j, t in enumerate(tokens)) for s in slots]
        values = [sum(f[s, t.place] * v[j] for j, t in enumerate(tokens)) for s in slots]
        outputs = []
        for i, query in enumerate(tokens):
            scores = [
                q[i] @ keys[s] / math.sqrt(len(q[i]))
                + sum(e[s, t.place] * bias(attention, query, t, head) for t in tokens)
                for s in slots
            ]
            outputs.append(sum(weight * values[s] for s, weight in zip(slots, softmax(scores), strict=True)))
        return outputs

    return apart(attention, x, region)


def performer(attention: Any, x: Tensor) -> Tensor:
    def phi(vector: Tensor) -> Tensor:
        scaled = vector / len(vector) ** 0.25
        rows = [(feature @ scaled - scaled @ scaled / 2).exp() for feature in attention.features]
        return torch.stack(rows) / math.sqrt(len(rows))

    def region(tokens: list[Token], q: Any, k: Any, v: Any, head: int) -> list[Tensor]:
        outputs = []
        for i in range(len(tokens)):
            kernel = [phi(q[i]) @ phi(k[j]) for j in range(len(tokens))]
            outputs.append(sum(weight * v[j] for j, weight in enumerate(kernel)) / sum(kernel))
        return outputs

    return apart(attention, x, region)


def routing(attention: Any, x: Tensor) -> Tensor:
    def region(tokens: list[Token], q: Any, k: Any, v: Any, head: int) -> list[Tensor]:
        real = [j for j, token in enumerate(tokens) if token.where is not None]
        centroids = attention.centroids[head]
        size = math.ceil(len(real) / len(centroids))
        outputs: list[list[Tensor]] = [[] for _ in tokens]

        def nearest(vectors: list[Tensor], centroid: Tensor) -> list[int]:
            def cosine(j: int) -> float:
                angle = vectors[j] @ centroid / (vectors[j].norm() * centroid.norm())
                return float(angle) - tokens[j].place / 2**20

            return sorted(real, key=cosine, reverse=True)[:size]

        for centroid in centroids:
            keys = nearest(k, centroid)
            for i in nearest(q, centroid):
                scores = [
                    q[i] @ k[j] / math.sqrt(len(q[i])) + bias(attention, tokens[i], tokens[j], head) for j in keys
                ]
                outputs[i].append(sum(w * v[j] for w, j in zip(softmax(scores), keys, strict=True)))
        return [torch.stack(found).mean(dim=0) if found else torch.zeros_like(v[0]) for found in outputs]

    return apart(attention, x, region)


def channel_gate(attention: Any, x: Tensor) -> Tensor:
    """V1: plain window attention on the gated map, with no mask but regions; V2: the same by its cosines."""
    gated = torch.stack([image * gate(attention.gate, image) for image in x])

    def region(tokens: list[Token], q: Any, k: Any, v: Any, head: int) -> list[Tensor]:
        outputs = []
        for i, query in enumerate(tokens):
            scores = [score(query, key, q[i], k[j], head) for j, key in enumerate(tokens)]
            outputs.append(sum(weight * v[j] for j, weight in enumerate(softmax(scores))))
        return outputs

    def score(query: Token, key: Token, q: Tensor, k: Tensor, head: int) -> Tensor:
        if hasattr(attention, "logit_scale"):
            factor = min(attention.logit_scale[head].exp().item(), 100.0)
            lengths = max(float(q.norm()), 1e-12) * max(float(k.norm()), 1e-12)
            return factor * (q @ k) / lengths + attention.bias()[head, query.place, key.place]
        return q @ k / math.sqrt(len(q)) + bias(attention, query, key, head)

    return apart(attention, gated, region)


def gate(weights: Any, image: Tensor) -> Tensor:
    """[H, W, C] to [C]."""
    height, width, channels = image.shape
    kernel, norm = weights.conv.weight, weights.norm  # [C/8, inputs, rows, columns]
    reduced, inputs, rows, columns = kernel.shape
    means = []
    for o in range(reduced):
        first = (o // (reduced // (channels // inputs))) * inputs  # of the group that o belongs to
        total = 0.0
        for r in range(height):
            for c in range(width):
                value = 0.0 if weights.conv.bias is None else weights.conv.bias[o]
                for dr in range(rows):
                    for dc in range(columns):
                        at = r + dr - rows // 2, c + dc - columns // 2
                        if 0 <= at[0] < height and 0 <= at[1] < width:
                            value = value + kernel[o, :, dr, dc] @ image[at][first : first + inputs]
                value = (value - norm.running_mean[o]) / (norm.running_var[o] + norm.eps).sqrt()
                total = total + (value * norm.weight[o] + norm.bias[o]).clamp(min=0)
        means.append(total / (height * width))
    expand = weights.expand
    return (expand.weight[:, :, 0, 0] @ torch.stack(means) + expand.bias).sigmoid()
