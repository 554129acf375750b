"""Write a run's report with its pictures."""

from __future__ import annotations

from pathlib import Path

from swin_deploy.atomic import disk_faults, write_text
from swin_deploy.manifest import Manifest
from swin_deploy.parity.gates import GATES, GateName
from swin_deploy.report.block_chart import draw_blocks
from swin_deploy.report.markdown import markdown_report
from swin_deploy.report.plan_figures import QUANTIZED, chains
from swin_deploy.report.quantization_section import picture_name

__all__ = ["REPORT", "report_files", "write_report"]

REPORT = "report.md"


def report_files() -> tuple[str, ...]:
    """Every file name that a report may consist of."""
    return (REPORT, *(picture_name(precision) for precision in QUANTIZED))


def write_report(manifest: Manifest, folder: Path) -> Path:
    """Write `report.md` into a run's folder, with a picture beside it where matplotlib is installed.

    Returns:
        The report's path.
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
    write_text(folder / REPORT, markdown_report(manifest, frozenset(drawn)))
    return folder / REPORT
