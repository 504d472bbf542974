"""Render a report as one self-contained HTML page without scripts, fonts or other files."""

from __future__ import annotations

from base64 import b64encode
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from kelly_core.report.document import Attachment, Document, LossCurves, Picture, shown
from kelly_core.report.plots import INKS, draw_forest, loss_plot


def render(document: Document) -> str:
    """Return the report as HTML; all content of files is escaped."""
    return _template().render(document=document)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("kelly_core.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"draw_forest": draw_forest, "loss_pictures": _loss_pictures, "data_uri": _data_uri}
    environment.filters["kind"] = lambda block: type(block).__name__
    return environment.get_template("page.html.jinja")


def _shown(value: object) -> object:
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _data_uri(block: Picture | Attachment) -> Markup:
    """Return the bytes of a file as a URI, so that the page needs no other file."""
    media_type = "image/png" if isinstance(block, Picture) else block.media_type
    return Markup("data:{};base64,{}").format(media_type, b64encode(block.content).decode())


def _loss_pictures(curves: LossCurves) -> dict[str, Markup]:
    """Return an image per color scheme."""
    return {scheme: Markup(loss_plot(curves, ink)) for scheme, ink in INKS.items()}
