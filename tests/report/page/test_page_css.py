"""Everybody can read it: contrast by WCAG 2.2 (1.4.3: 4.5 for text, 1.4.11: 3 for graphics), in light and in dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from swin_deploy.report.page import inline_svg

CSS = Path(inline_svg.__file__).with_name("page.css").read_text(encoding="utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", part))
    for part in CSS.split("@media (prefers-color-scheme: dark)")
)
SCHEMES = pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
Rgb = tuple[float, ...]


def rgb(colour: str) -> Rgb:
    return tuple(int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))


def luminance(colour: Rgb) -> float:
    """WCAG's relative luminance."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Rgb, other: Rgb) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_formula_gives_its_known_values() -> None:
    assert contrast(rgb("#ffffff"), rgb("#000000")) == pytest.approx(21)
    assert contrast(rgb("#777777"), rgb("#ffffff")) == pytest.approx(4.48, abs=0.01)  # just too little


@SCHEMES
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        ("ink", "paper"),
        ("ink", "panel"),
        ("muted", "paper"),
        ("muted", "panel"),
        ("link", "paper"),
        ("pass", "pass-soft"),
        ("fail", "fail-soft"),
        ("fail", "paper"),
        ("warn", "warn-soft"),
        ("ink", "fail-soft"),
        ("ink", "warn-soft"),
        ("paper", "fail"),
    ],
)
def test_texts_can_be_read(scheme: dict[str, str], text: str, ground: str) -> None:
    assert contrast(rgb(scheme[text]), rgb(scheme[ground])) >= 4.5


@SCHEMES
@pytest.mark.parametrize("mark", ["fp32", "fp16", "bf16", "int8", "fp8", *(f"run-{place}" for place in range(1, 7))])
def test_marks_can_be_seen(scheme: dict[str, str], mark: str) -> None:
    assert contrast(rgb(scheme[mark]), rgb(scheme["paper"])) >= 3


@SCHEMES
def test_numbers_can_be_read_on_every_shade_of_heat(scheme: dict[str, str]) -> None:
    shares = [
        int(share) / 100
        for share in re.findall(r"heat-\d \{ background: color-mix\(in srgb, var\(--heat\) (\d+)%", CSS)
    ]
    assert len(shares) == 6 and shares == sorted(shares)
    paper, hot, ink = (rgb(scheme[name]) for name in ("paper", "heat", "ink"))
    for share in shares:
        mixed = tuple(share * one + (1 - share) * other for one, other in zip(hot, paper, strict=True))
        assert contrast(ink, mixed) >= 4.5, share
