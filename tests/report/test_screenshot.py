"""The pages in a real browser: light and dark, wide and narrow, drawn, and nowhere wider than the window.

Skipped, visibly, where there is no headless Chromium (Debian: apt-get install chromium-headless-shell).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from swin_deploy.comparison.comparison import compare_runs
from swin_deploy.report.finish_file import read_finish
from swin_deploy.report.page.comparison_page import comparison_page
from swin_deploy.report.page.run_page import run_page
from tests.comparison.two_runs import write_run
from tests.report.full_run import full_run, write_finish

_NAMES = ("chromium-headless-shell", "chrome-headless-shell", "chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in _NAMES if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no headless Chromium is installed: the pages were not looked at in a browser"
)

Pixels = npt.NDArray[np.uint8]
WIDTHS = {"wide": 1280, "narrow": 390}
SCHEMES = {"light": 1, "dark": 0}  # Blink's own numbers for prefers-color-scheme
# A page that shows another in a frame of a given width and says how wide its content turned out.
_MEASURE = """<!DOCTYPE html><title>not measured</title>
<iframe id="frame" style="border:0" width="{width}" height="9000" src="{page}"></iframe>
<script>addEventListener("load", () => {{
 const inside = document.getElementById("frame").contentDocument.documentElement;
 document.title = "measured " + inside.scrollWidth + " of " + inside.clientWidth; }});</script>"""


def browser(*arguments: str, url: Path) -> str:
    """Standard output of one headless visit."""
    assert BROWSER is not None
    # Pages of our own: the sandbox, which root and containers cannot have, guards against others'.
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--allow-file-access-from-files"]
    run = subprocess.run(
        [BROWSER, *options, *arguments, url.as_uri()], capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@dataclass(frozen=True)
class Pages:
    """Files of pages, and a folder for pictures of them."""

    folder: Path
    names: tuple[str, ...]

    def screenshot(self, name: str, width: int, scheme: str) -> Pixels:
        """The first screens of a page: [height, width, 3]."""
        out = self.folder / f"{name}.{width}.{scheme}.png"
        browser(
            f"--screenshot={out}",
            f"--window-size={width},2400",
            f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
            url=self.folder / f"{name}.html",
        )
        with Image.open(out) as image:
            return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    folder = tmp_path_factory.mktemp("pages")
    finish = read_finish(write_finish(folder / "finish.json", failed=True))
    write_run(folder / "monday", (0, 1))
    write_run(folder / "tuesday", (1, 5, 6, 7), target="tensorrt")
    made = {
        "run": run_page(full_run(), [finish]),
        "comparison": comparison_page(compare_runs([folder / "monday", folder / "tuesday"])),
        "blank": "<!DOCTYPE html><html><body></body></html>",
        "overflowing": '<!DOCTYPE html><html><body><div style="width:3000px">x</div></body></html>',
    }
    for name, page in made.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return Pages(folder, tuple(made))


def packed(pixels: Pixels) -> npt.NDArray[np.int64]:
    """One number a colour."""
    return pixels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])


def colours(pixels: Pixels) -> int:
    """How many different ones there are."""
    return len(np.unique(packed(pixels)))


def overflow(pages: Pages, name: str, width: int) -> int:
    """Pixels by which a page's content is wider than the window."""
    frame = pages.folder / f"{name}.{width}.frame.html"
    frame.write_text(_MEASURE.format(width=width, page=f"{name}.html"), encoding="utf-8")
    dumped = browser("--dump-dom", "--virtual-time-budget=5000", f"--window-size={width + 100},900", url=frame)
    found = re.search(r"measured (\d+) of (\d+)", dumped)
    assert found, dumped[:500]
    content, window = map(int, found.groups())
    assert window == width
    return content - window


@pytest.mark.parametrize("name", ["run", "comparison"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS.keys())
def test_a_page_is_drawn_in_light_and_in_dark(pages: Pages, name: str, width: int) -> None:
    light, dark = (pages.screenshot(name, width, scheme) for scheme in SCHEMES)
    for pixels in (light, dark):
        assert pixels.shape[1] == width
        assert colours(pixels) > 100
        assert np.mean(packed(pixels) != packed(pixels[1, 1])) > 0.02  # the corner is empty paper
    assert light[1, 1].min() > 240 and dark[1, 1].max() < 40
    assert dark.mean() < 60 < 200 < light.mean()


@pytest.mark.parametrize("name", ["run", "comparison"])
@pytest.mark.parametrize("width", [*WIDTHS.values(), 320], ids=[*WIDTHS.keys(), "narrowest"])
def test_a_page_is_nowhere_wider_than_the_window(pages: Pages, name: str, width: int) -> None:
    assert overflow(pages, name, width) == 0


def test_the_figures_take_the_pages_colours_in_dark(pages: Pages) -> None:
    """INT8's own orange of the dark scheme is in the picture, and that of the light one is not."""
    dark = packed(pages.screenshot("run", 1280, "dark"))
    assert 0xFF9A57 in dark
    assert 0xC2500A not in dark


def test_a_blank_page_and_a_wide_one_would_be_noticed(pages: Pages) -> None:
    """The negative controls."""
    assert colours(pages.screenshot("blank", 1280, "light")) == 1
    assert overflow(pages, "overflowing", 1280) > 0
