"""Charts: a timeline as SVG for a page, and as a picture; knows pygal, and no ledger.

pygal is pure Python and half a megabyte, draws in milliseconds, and makes plain SVG: a page needs no script and no network for it.
"""

import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

from paymaster.views.reports import GroupBy
from paymaster.views.spending import Timeline
from paymaster.views.words import short_usd

_SVG = "http://www.w3.org/2000/svg"
_DROPPED = frozenset({"script", "style", "desc", "defs", "title"})
_COLOURS = ("#0b6e99", "#b4530a", "#55730a", "#8b3fb0", "#a8324a", "#0a7a5f", "#7a6200", "#5b6472")
_MAX_LABELS, _SHORT_LABEL = 5, 6
_INK, _PAPER, _LINES = "#1b1f24", "#ffffff", "#c9ced6"


def draw_for_page(timeline: Timeline, *, width: int = 400, height: int = 230) -> str:
    """Stacked bars as one `<svg>` element without script, style or ids. The page's style sheet colours the classes `series-0` …."""
    root = ET.fromstring(_svg(timeline, width=width, height=height, legend=False))  # noqa: S314  made by pygal, not from outside
    _clean(root, timeline, step_labels(timeline))
    root.attrib = {"class": "chart", "viewBox": f"0 0 {width} {height}", "role": "img", "aria-label": description(timeline)}
    ET.register_namespace("", _SVG)
    return ET.tostring(root, encoding="unicode")


def description(timeline: Timeline) -> str:
    """What the chart shows, in a sentence for screen readers."""
    if not timeline.total_nanousd:
        return f"Spending by {timeline.by.value}: none."
    sums = ", ".join(f"{label(timeline.by, series.name)} {short_usd(series.total_nanousd)}" for series in timeline.series)
    labels = step_labels(timeline)
    return f"Spending by {timeline.by.value} from {labels[0]} to {labels[-1]}: {sums}."


def label(by: GroupBy, name: str | None) -> str:
    """A name for a reader; `no user named` if the records name none."""
    return f"no {by.value} named" if name is None else name


def step_labels(timeline: Timeline) -> list[str]:
    """When each step begins, in UTC, each label once: times within one day, otherwise dates, with the time for shorter steps."""
    begins = [datetime.fromtimestamp(start_ms / 1000, UTC) for start_ms in timeline.starts_ms]
    within_a_day = begins[0].date() == begins[-1].date()
    return [
        f"{at:%H:%M}" if within_a_day else f"{at.day} {at:%b}" if at.hour == at.minute == 0 else f"{at.day} {at:%b} {at:%H:%M}"
        for at in begins
    ]


def _axis_labels(labels: list[str]) -> list[str]:
    """The labels shown below the chart: dates if there are some, otherwise as many as there is room for."""
    dates = [text for text in labels if ":" not in text]
    shown = dates if len(dates) > 1 else labels
    most = _MAX_LABELS if all(len(text) <= _SHORT_LABEL for text in shown) else 3
    return shown[:: max(1, -(-len(shown) // most))]


def draw_picture(timeline: Timeline, title: str, *, width: int = 1200, height: int = 630) -> bytes:
    """The chart as a PNG with title and legend. The font is Lato, so that it looks the same on machines without fonts."""
    import font_lato
    import resvg_py

    svg = _svg(timeline, width=width, height=height, legend=True, title=title)
    fonts = str(Path(font_lato.__file__).parent / "files")
    png = resvg_py.svg_to_bytes(svg_string=svg, font_dirs=[fonts], font_family="Lato", sans_serif_family="Lato", background=_PAPER, zoom=2)
    return bytes(png)


def _svg(timeline: Timeline, *, width: int, height: int, legend: bool, title: str | None = None) -> str:
    pygal = _import_pygal()
    from pygal.style import Style

    size = 15 if legend else 12
    style = Style(
        font_family="Lato" if legend else "sans-serif",
        background=_PAPER,
        plot_background=_PAPER,
        foreground=_INK,
        foreground_strong=_INK,
        foreground_subtle=_INK,
        guide_stroke_color=_LINES,
        major_guide_stroke_color=_LINES,
        opacity="1",
        colors=_COLOURS,
        title_font_size=24,
        legend_font_size=size,
        label_font_size=size,
        major_label_font_size=size,
    )
    chart = pygal.StackedBar(
        style=style,
        js=[],
        css=None if legend else [],
        width=width,
        height=height,
        explicit_size=legend,
        show_legend=legend,
        legend_at_bottom=True,
        legend_at_bottom_columns=4,
        truncate_legend=40,
        truncate_label=-1,
        title=title,
        margin=24 if legend else 4,
        spacing=size,
        show_minor_x_labels=False,
        value_formatter=_dollars,
        disable_xml_declaration=True,
        no_data_text="Nothing spent",
    )
    if legend:
        chart.config.css = ["file://style.css", "file://graph.css"]
    chart.x_labels = step_labels(timeline)
    chart.x_labels_major = _axis_labels(chart.x_labels)
    chart.max_scale = 5
    for series in timeline.series:
        chart.add(label(timeline.by, series.name), list(series.amounts_nanousd))
    return str(chart.render(is_unicode=True))


def _import_pygal() -> ModuleType:
    """Pygal without its import hook for plugins, which is of Python 2's kind: every failing import would warn of it."""
    before = list(sys.meta_path)
    import pygal

    sys.meta_path[:] = [finder for finder in sys.meta_path if finder in before or type(finder).__module__ != "pygal"]
    module: ModuleType = pygal
    return module


def _dollars(amount_nanousd: float) -> str:
    """Pygal computes axis values as floats; they are whole nano-dollars."""
    return short_usd(round(amount_nanousd))


def _clean(element: ET.Element, timeline: Timeline, labels: list[str], series: int = 0) -> None:
    """Remove what a strict content policy forbids or a page does not need, and give each bar a text."""
    for child in list(element):
        if child.tag.removeprefix(f"{{{_SVG}}}") in _DROPPED or child.get("class") in _UNUSED:
            element.remove(child)
            continue
        if found := re.search(r"serie-(\d+)", child.get("class", "")):
            series = int(found[1])
        _clean(child, timeline, labels, series)
        for name in ("style", "id", "clip-path"):
            child.attrib.pop(name, None)
    if element.get("class") == "bars":
        _name_bars(element, timeline, labels, series)


_UNUSED = frozenset({"titles", "plot overlay", "plot text-overlay", "plot tooltip-overlay", "tooltip"})


def _name_bars(bars: ET.Element, timeline: Timeline, labels: list[str], series: int) -> None:
    shown = timeline.series[series]
    colour = "series-others" if shown.is_others else f"series-{series}"
    for bar, at, amount in zip(list(bars), labels, shown.amounts_nanousd, strict=False):
        if not amount:
            bars.remove(bar)
            continue
        bar.set("class", f"bar {colour}")
        title = ET.Element(f"{{{_SVG}}}title")
        title.text = f"{at}, {label(timeline.by, shown.name)}: {short_usd(amount)}"
        bar.insert(0, title)
