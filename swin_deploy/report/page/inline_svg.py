"""A matplotlib figure as SVG that lies inside a page: its colours are the page's variables, its text is text.

matplotlib knows no CSS. So a figure is drawn in colours that stand for names, and the names are put in their place
afterwards: dark mode and print then recolour the figure with the page, without a script.
"""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["WITHOUT", "drawable", "ink", "inline_svg"]

WITHOUT = "Pictures need matplotlib, which is missing here: pip install 'swin-deploy[report]'. The tables have it all."
"""What a page says in the place of its pictures."""
# Every variable of page.css that a figure may be drawn in, in a fixed order.
_NAMES = (
    "ink", "muted", "line", "paper", "pass", "fail", "warn",
    "fp32", "fp16", "bf16", "int8", "fp8",
    "run-1", "run-2", "run-3", "run-4", "run-5", "run-6",
)  # fmt: skip
_POINTS = 72  # an inch


def drawable() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def ink(name: str) -> str:
    """The colour that stands for a variable of the page.

    Raises:
        ValueError: the page has no such variable.
    """
    number = _NAMES.index(name) + 1
    return f"#{number:02x}fe{number:02x}"


def inline_svg(
    name: str, title: str, description: str, draw: Callable[[Figure], None], *, width: float = 760, height: float = 240
) -> str:
    """The markup of one figure; empty where matplotlib is not installed.

    Args:
        name: Unique in the page, since ids of all its figures share one space.
        title: What is shown, for whoever does not see it.
        description: What it says, likewise.
        draw: Fills the figure.
        width: In pixels of the page, before it is fitted.
        height: Likewise.
    """
    if not drawable():
        return ""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,  # the same figures give the same markup
        "text.parse_math": False,  # a dollar in a file's name is a dollar
        "font.size": 11.5,
        "axes.titlesize": 12,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), ink("ink")),
        **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), ink("line")),
    }
    buffer = io.StringIO()
    with rc_context(style):
        figure = Figure(figsize=(width / _POINTS, height / _POINTS), dpi=_POINTS, layout="constrained")
        draw(figure)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    return _in_page(buffer.getvalue(), name, title, description, width, height)


def _in_page(svg: str, name: str, title: str, description: str, width: float, height: float) -> str:
    """Keep what a page needs of a file that stands alone."""
    inner = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    inner = re.sub(r"<(style|metadata)\b.*?</\1>", "", inner, flags=re.DOTALL)  # its style would hold for the page
    inner = re.sub(r'<g id="[^"]*">', "<g>", inner)
    inner = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", inner)
    inner = inner.replace("xlink:href", "href")
    inner = re.sub(r" font-family: [^;\"]*;", "", inner)
    inner = re.sub(r' transform="rotate\(-0 [^"]*"', "", inner)
    inner = re.sub(r'\b(?:d|x|y|width|height)="[^"]*"', lambda found: _shortened(found.group()), inner)
    inner = re.sub(r"\n\s*", "\n", inner)
    for known in _NAMES:
        inner = inner.replace(ink(known), f"var(--{known})")
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
        f"{inner}</svg>"
    )


def _shortened(attribute: str) -> str:
    """A hundredth of a pixel is enough."""
    return re.sub(r"(\.\d\d)\d+", r"\1", attribute).replace(" \n", " ").replace("\n", " ")
