"""A page as one HTML file: no network, no script, no other file. Every text is escaped; pictures are our own markup."""

from __future__ import annotations

from pathlib import Path

from swin_deploy.report.page.document import Page

__all__ = ["rendered"]

_FOLDER = Path(__file__).parent


def rendered(page: Page) -> str:
    """The file's text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup, escape

    def commands(text: str) -> Markup:
        """The text with what stands between backticks as code."""
        parts = str(escape(text)).split("`")
        if len(parts) % 2 == 0:  # one backtick without its fellow is only a character
            return Markup("`".join(parts))
        return Markup("".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts)))

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["commands"] = commands
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(page=page, style=Markup(style))
