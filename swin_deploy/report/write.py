"""Write a run's report: the same in Markdown, for a terminal and a review, and as one HTML page, for a browser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swin_deploy.atomic import disk_faults, write_text
from swin_deploy.errors import BadInput
from swin_deploy.manifest import Manifest, read_manifest
from swin_deploy.parity.gates import GATES, GateName
from swin_deploy.report.block_chart import draw_blocks
from swin_deploy.report.finish_file import Finish
from swin_deploy.report.markdown import markdown_report
from swin_deploy.report.page.run_page import run_page
from swin_deploy.report.plan_figures import QUANTIZED, chains
from swin_deploy.report.quantization_section import picture_name

__all__ = ["PAGE", "REPORT", "report_files", "rewrite_report", "write_report"]

REPORT, PAGE = "report.md", "report.html"


def report_files() -> tuple[str, ...]:
    """Every file name that a report may consist of."""
    return (REPORT, PAGE, *(picture_name(precision) for precision in QUANTIZED))


def write_report(manifest: Manifest, folder: Path, finishes: Sequence[Finish] = ()) -> Path:
    """Write `report.md` and `report.html` into a run's folder, with a picture beside the first where matplotlib is.

    Args:
        manifest: The run.
        folder: Its folder.
        finishes: What devices made of its bundle.

    Returns:
        The path of `report.md`.
    """
    drawn = set()
    for chain in chains(manifest):
        path = folder / picture_name(chain.precision)
        with disk_faults(path):
            path.unlink(missing_ok=True)
            if chain.measure is not None:
                title = f"{chain.precision.upper()} against FP32, {chain.measure.images} images"
                gate = GATES[GateName(chain.precision)]
                needed = gate.sqnr_db if manifest.task == "classifier" else gate.dense_db
                if draw_blocks(chain.measure.blocks, title, needed, path):
                    drawn.add(path.name)
    write_text(folder / REPORT, markdown_report(manifest, frozenset(drawn), finishes))
    write_text(folder / PAGE, run_page(manifest, finishes))
    return folder / REPORT


def rewrite_report(folder: Path, finishes: Sequence[Finish] = ()) -> Path:
    """Write the report of a run that was made earlier, from its manifest alone.

    Returns:
        The path of `report.html`.

    Raises:
        BadInput: the folder holds no run, or its manifest holds what no build writes.
    """
    manifest = read_manifest(folder)
    try:
        write_report(manifest, folder, finishes)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise BadInput(
            f"the manifest in {folder} holds what no build writes: {type(error).__name__}: {error}",
            needed="a folder as swin-deploy build left it",
            do="Build again",
        ) from error
    return folder / PAGE
