"""Render a report as one HTML page with embedded plots, without scripts, fonts or other external files."""

from __future__ import annotations

import math
from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from io import BytesIO

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from kelly_core.report.document import Attachment, Document, EmbeddedImage, Forest, LossCurves, printable_excerpt

INKS = {"light": "#3a3f47", "dark": "#c9cdd3"}
"""Color of axes and text by color scheme; the background is transparent."""

_LABELS, _WIDTH, _ROW, _AXIS, _MARGIN = 250.0, 720.0, 24.0, 26.0, 12.0
_MAX_TICKS = 7


@dataclass(frozen=True)
class DrawnWhisker:
    """A whisker at ``y`` from ``left`` to ``right`` with its value at ``x``."""

    label: str
    y: float
    left: float
    x: float
    right: float
    beaten: bool


@dataclass(frozen=True)
class DrawnForest:
    """Forest plot in SVG units, ``width`` × ``height``, with ticks (position, label) below."""

    width: float
    height: float
    zero: float
    ticks: tuple[tuple[float, str], ...]
    whiskers: tuple[DrawnWhisker, ...]


def draw_forest(forest: Forest) -> DrawnForest:
    """Compute the positions of at least one whisker of a forest plot on an axis that includes 0."""
    low = min(0.0, *(whisker.low for whisker in forest.whiskers))
    high = max(0.0, *(whisker.high for whisker in forest.whiskers))
    # If all ends are 0, any scale works.
    span = high - low or 1.0

    def place(share: float) -> float:
        return round(_LABELS + _MARGIN + (share - low) / span * (_WIDTH - _LABELS - 3 * _MARGIN), 1)

    drawn = tuple(
        DrawnWhisker(w.label, _ROW * (row + 0.5), place(w.low), place(w.value), place(w.high), w.beaten)
        for row, w in enumerate(forest.whiskers)
    )
    step = _step(span)
    multiples = range(math.ceil(low / step), math.floor(high / step) + 1)
    ticks = tuple((place(count * step), f"{100 * count * step:+.3g} %" if count else "0") for count in multiples)
    return DrawnForest(_WIDTH, _ROW * len(drawn) + _AXIS, place(0.0), ticks, drawn)


def _step(span: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that results in at most seven ticks."""
    decade = 10.0 ** math.floor(math.log10(span / _MAX_TICKS))
    return next(step for step in (decade, 2 * decade, 5 * decade, 10 * decade) if span / step <= _MAX_TICKS)


def render(document: Document) -> str:
    """Return the report as HTML with escaped file content."""
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
    return printable_excerpt(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _data_uri(block: EmbeddedImage | Attachment) -> Markup:
    """Return the bytes of a file as a data URI."""
    media_type = "image/png" if isinstance(block, EmbeddedImage) else block.media_type
    return Markup("data:{};base64,{}").format(media_type, b64encode(block.content).decode())


def _loss_pictures(curves: LossCurves) -> dict[str, Markup]:
    """Return the plot of losses by epoch for each color scheme, as data URIs of transparent SVG files."""
    from kelly_core.training.plots import draw_losses

    pictures = {}
    for scheme, ink in INKS.items():
        picture = BytesIO()
        figure = draw_losses("", curves.history.rows, curves.history.metrics, ink=ink)
        # Without the date, the same losses produce the same page.
        figure.savefig(picture, format="svg", transparent=True, metadata={"Date": None})
        pictures[scheme] = Markup("data:image/svg+xml;base64,{}").format(b64encode(picture.getvalue()).decode())
    return pictures
