"""Draw the pictures of docs/attention.md from the functions that the toolkit itself uses.

    python docs/draw_attention.py

writes docs/pictures/*.svg, always the same text for the same functions: a test compares the files with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

from swin_deploy.model.windows import PADDING, padded_size, shift_mask, window_order, window_regions

IntArray = npt.NDArray[np.int64]
Size = tuple[int, int]

FOLDER = Path(__file__).resolve().parent / "pictures"

# The paper's own example (figure 4): a map of four windows.
MAP, WINDOW, SHIFT = (8, 8), (4, 4), (2, 2)
NOT_COVERED = (6, 7)

CELL = 28
GAP = 44
MARGIN = 24
# Light fills under dark text, on a card of their own: the page behind may be white or black.
FILLS = ("#bfdbfe", "#fed7aa", "#bbf7d0", "#fbcfe8", "#ddd6fe", "#fef08a", "#a5f3fc", "#fecaca", "#d6d3d1")
FORBIDDEN = "#475569"
CARD, INK, QUIET, EDGE, STRONG = "#ffffff", "#0f172a", "#475569", "#94a3b8", "#0f172a"


@dataclass
class Picture:
    """The parts of one SVG file, in the order in which they are painted."""

    width: int
    height: int
    title: str
    parts: list[str] = field(default_factory=list)

    def rectangle(self, x: float, y: float, width: float, height: float, fill: str, edge: str = "none") -> None:
        """A filled rectangle with a thin edge."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}" stroke="{edge}"/>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, *, arrow: bool = False) -> None:
        """A strong line, or an arrow."""
        end = ' marker-end="url(#arrow)"' if arrow else ""
        self.parts.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{STRONG}" stroke-width="2.5" '
            f'stroke-linecap="round"{end}/>'
        )

    def text(self, x: float, y: float, words: str, *, size: int = 13, bold: bool = False, quiet: bool = False) -> None:
        """One line of text on the baseline `y`, centred at `x`."""
        weight = ' font-weight="bold"' if bold else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{QUIET if quiet else INK}"{weight} '
            f'text-anchor="middle">{escape(words)}</text>'
        )

    def caption(self, y: float, *lines: str) -> None:
        """Lines of explanation under everything, the first on the baseline `y`."""
        for number, words in enumerate(lines):
            self.text(self.width / 2, y + 18 * number, words, quiet=True)

    def svg(self) -> str:
        """The file's text."""
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
                f'width="{self.width}" height="{self.height}" role="img" font-family="Helvetica, Arial, sans-serif">',
                f"<title>{escape(self.title)}</title>",
                '<defs><marker id="arrow" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="5" markerHeight="5" '
                f'orient="auto"><path d="M0 0L10 5L0 10z" fill="{STRONG}"/></marker>'
                '<pattern id="padded" width="6" height="6" patternUnits="userSpaceOnUse" '
                f'patternTransform="rotate(45)"><line x1="0" y1="0" x2="0" y2="6" stroke="{QUIET}" stroke-width="2"/>'
                "</pattern></defs>",
                f'<rect width="{self.width}" height="{self.height}" rx="10" fill="{CARD}"/>',
                *self.parts,
                "</svg>\n",
            ]
        )

    def grid(
        self,
        left: float,
        top: float,
        colours: IntArray,
        labels: IntArray | None,
        groups: IntArray,
        *,
        bold: npt.NDArray[np.bool_] | None = None,
        padded: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """A map of tokens.

        Args:
            left: Where it stands.
            top: Where it stands.
            colours: [H, W], index of each cell's fill.
            labels: [H, W], what is written into the cells.
            groups: [H, W]; a strong line is drawn between cells of different groups.
            bold: [H, W], which labels are bold.
            padded: [H, W], which cells are hatched.
        """
        height, width = colours.shape
        for row, column in np.ndindex(height, width):
            x, y = left + column * CELL, top + row * CELL
            self.rectangle(x, y, CELL, CELL, FILLS[colours[row, column] % len(FILLS)], EDGE)
            if padded is not None and padded[row, column]:
                self.rectangle(x, y, CELL, CELL, "url(#padded)")
            elif labels is not None:
                strong = bold is not None and bool(bold[row, column])
                self.text(x + CELL / 2, y + CELL / 2 + 4, str(labels[row, column]), size=12, bold=strong)
        for row, column in np.ndindex(height + 1, width + 1):
            x, y = left + column * CELL, top + row * CELL
            if column < width and (row in (0, height) or groups[row - 1, column] != groups[row, column]):
                self.line(x, y, x + CELL, y)
            if row < height and (column in (0, width) or groups[row, column - 1] != groups[row, column]):
                self.line(x, y, x, y + CELL)


def unpartition(stream: IntArray, feature_map: Size, window: Size) -> IntArray:
    """A value a token in window order, [L] or [nW, N], as a map [H, W]."""
    rows, columns = feature_map[0] // window[0], feature_map[1] // window[1]
    return stream.reshape(rows, columns, *window).transpose(0, 2, 1, 3).reshape(feature_map)  # [H, W]


def back_to_raster(stream: IntArray, order: IntArray, feature_map: Size) -> IntArray:
    """A value a token in the order of the stream as a map in raster order, [H, W]."""
    raster = np.empty_like(stream.reshape(-1))
    raster[order] = stream.reshape(-1)
    return raster.reshape(feature_map)


def window_numbers(feature_map: Size, window: Size) -> IntArray:
    """[Hp*Wp]: the window of each token of the stream."""
    height, width = padded_size(feature_map, window)
    tokens = window[0] * window[1]
    return np.arange(height * width, dtype=np.int64) // tokens


def draw_windows() -> Picture:
    """Plain and shifted windows over one feature map."""
    side = MAP[1] * CELL
    picture = Picture(2 * MARGIN + 2 * side + GAP, 344, "Plain and shifted windows over a feature map of 8 x 8 tokens")
    panels = (((0, 0), "even block: windows of 4 x 4"), (SHIFT, "odd block: shifted by 2, 2"))
    for number, (shift, title) in enumerate(panels):
        left, top = MARGIN + number * (side + GAP), 56
        order = window_order(MAP, WINDOW, shift)
        windows = back_to_raster(window_numbers(MAP, WINDOW), order, MAP)
        pieces = back_to_raster(window_regions(MAP, WINDOW, shift), order, MAP) + 9 * windows
        picture.text(left + side / 2, 36, title, size=15, bold=True)
        picture.grid(left, top, windows, None, pieces)
        for piece in np.unique(pieces):
            rows, columns = np.nonzero(pieces == piece)
            x, y = left + (columns.mean() + 0.5) * CELL, top + (rows.mean() + 0.5) * CELL
            picture.text(x, y + 6, str(piece // 9), size=18, bold=True)
    picture.caption(
        308,
        "A number is a window. The shifted windows at the border are put together",
        "from pieces of opposite sides, which the mask keeps apart.",
    )
    return picture


def draw_roll() -> Picture:
    """The regions before and after the roll."""
    side = MAP[1] * CELL
    picture = Picture(2 * MARGIN + 2 * side + 2 * GAP, 344, "Rolling the map, with the region of each token")
    regions = window_regions(MAP, WINDOW, SHIFT)
    unrolled = back_to_raster(regions, window_order(MAP, WINDOW, SHIFT), MAP)
    rolled = unpartition(regions, MAP, WINDOW)
    windows = unpartition(window_numbers(MAP, WINDOW), MAP, WINDOW)
    top, middle, right = 56, MARGIN + side + GAP, MARGIN + side + 2 * GAP
    picture.text(MARGIN + side / 2, 36, "the map", size=15, bold=True)
    picture.grid(MARGIN, top, unrolled, unrolled, unrolled)
    picture.text(right + side / 2, 36, "rolled, cut into windows", size=15, bold=True)
    picture.grid(right, top, rolled, rolled, windows)
    picture.line(MARGIN + side + 16, top + side / 2, right - 16, top + side / 2, arrow=True)
    picture.text(middle, top + side / 2 - 14, "roll", size=12)
    picture.text(middle, top + side / 2 + 24, f"-{SHIFT[0]}, -{SHIFT[1]}", size=12)
    picture.caption(
        308,
        "A number is a region: 3 x row label + column label. Tokens of one window attend",
        "to each other if they have the same number.",
    )
    return picture


def draw_masks() -> Picture:
    """The mask of each window as a matrix."""
    mask = shift_mask(MAP, WINDOW, SHIFT)
    regions = window_regions(MAP, WINDOW, SHIFT)
    tokens, dot = mask.shape[-1], 10
    side, gap = tokens * dot, 26
    width = 2 * MARGIN + len(mask) * side + (len(mask) - 1) * gap
    picture = Picture(width, 290, "The mask of each window of the shifted block")
    for number, place in enumerate(("top left", "top right", "bottom left", "bottom right")):
        left, top = MARGIN + number * (side + gap), 66
        found = len(np.unique(regions[number]))
        picture.text(left + side / 2, 34, f"window {number}", size=15, bold=True)
        picture.text(left + side / 2, 53, f"{place}: {found} region{'s' * (found > 1)}", size=12, quiet=True)
        for query, key in np.ndindex(tokens, tokens):
            allowed = mask[number, query, key] == 0
            fill = FILLS[regions[number, query]] if allowed else FORBIDDEN
            picture.rectangle(left + key * dot, top + query * dot, dot, dot, fill, CARD)
    picture.caption(
        252,
        "Rows are queries, columns are keys, 16 tokens each. Light: 0, attention is allowed. Dark: -100.",
        "Only windows of the last row or the last column mix regions.",
    )
    return picture


def draw_order() -> Picture:
    """Three orders of one stream of tokens."""
    side = MAP[1] * CELL
    picture = Picture(2 * MARGIN + 3 * side + 2 * GAP, 366, "The token stream in raster order and in window order")
    places = np.arange(MAP[0] * MAP[1], dtype=np.int64)
    panels = (
        ("raster order", places),
        ("window order, even block", window_order(MAP, WINDOW, (0, 0))),
        ("window order, odd block", window_order(MAP, WINDOW, SHIFT)),
    )
    for number, (title, order) in enumerate(panels):
        left = MARGIN + number * (side + GAP)
        place = back_to_raster(places, order, MAP)
        together = place // (WINDOW[0] * WINDOW[1])
        picture.text(left + side / 2, 36, title, size=15, bold=True)
        picture.grid(left, 56, together, place, together)
        picture.text(left + side / 2, 304, "raster indices in the stream's order:", size=12)
        picture.text(left + side / 2, 320, ", ".join(map(str, order[:8])) + ", ...", size=12)
    picture.caption(
        348, "A number is the token's place in the stream; a colour is 16 tokens that stand together there."
    )
    return picture


def draw_padding() -> Picture:
    """A map that windows do not cover: where the padded tokens stand, by either order of rolling and padding."""
    padded_map = padded_size(NOT_COVERED, WINDOW)
    side = padded_map[1] * CELL
    picture = Picture(2 * MARGIN + 3 * side + 2 * GAP, 366, "A map of 6 x 7 tokens, padded for windows of 4 x 4")
    regions = window_regions(NOT_COVERED, WINDOW, SHIFT)
    unrolled = back_to_raster(regions, window_order(padded_map, WINDOW, SHIFT), padded_map)
    rolled = unpartition(regions, padded_map, WINDOW)
    windows = unpartition(window_numbers(NOT_COVERED, WINDOW), padded_map, WINDOW)
    panels = (
        ("padded", window_order(NOT_COVERED, WINDOW, (0, 0)), unrolled, False),
        ("padded, then rolled", window_order(NOT_COVERED, WINDOW, SHIFT), rolled, True),
        ("rolled, then padded (timm)", window_order(NOT_COVERED, WINDOW, SHIFT, roll_first=True), rolled, True),
    )
    for number, (title, order, colours, shifted) in enumerate(panels):
        left = MARGIN + number * (side + GAP)
        tokens = unpartition(order, padded_map, WINDOW)
        rows, columns = np.divmod(tokens, NOT_COVERED[1])
        # The roll takes the first rows and columns to the end.
        around = (tokens != PADDING) & ((rows < SHIFT[0]) | (columns < SHIFT[1])) & shifted
        picture.text(left + side / 2, 36, title, size=15, bold=True)
        picture.grid(left, 56, colours, tokens, windows, bold=around, padded=tokens == PADDING)
    picture.caption(
        308,
        "A number is a raster index, bold where the roll carried it round. Hatched tokens are zeros. Colours are the",
        "regions of the mask. On the right some bold numbers share a region with numbers that are not bold:",
        "there timm's mask lets tokens of opposite sides attend to each other.",
    )
    return picture


def pictures() -> dict[str, str]:
    """Every picture's text by its file name."""
    drawn = {
        "windows.svg": draw_windows(),
        "roll.svg": draw_roll(),
        "masks.svg": draw_masks(),
        "order.svg": draw_order(),
        "padding.svg": draw_padding(),
    }
    return {name: picture.svg() for name, picture in drawn.items()}


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pictures().items():
        (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
