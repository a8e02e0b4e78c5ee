"""Charts: a timeline as SVG, for a page (coloured by the page's style sheet) and as a picture; knows pygal, and no ledger.

pygal is pure Python and half a megabyte, draws in milliseconds, and leaves plain SVG: a page needs no script and no network for it.
"""

import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

from paymaster.views.reports import Key
from paymaster.views.spending import Timeline
from paymaster.views.words import short_usd

_SVG = "http://www.w3.org/2000/svg"
_DROPPED = frozenset({"script", "style", "desc", "defs", "title"})
_COLOURS = ("#0b6e99", "#b4530a", "#55730a", "#8b3fb0", "#a8324a", "#0a7a5f", "#7a6200", "#5b6472")
_LABELS_ACROSS, _SHORT = 5, 6
_INK, _PAPER, _LINES = "#1b1f24", "#ffffff", "#c9ced6"


def draw_for_page(timeline: Timeline, *, width: int = 400, height: int = 230) -> str:
    """Stacked bars as one `<svg>` element without script, style or names of its own: classes `series-0` … are the page's to colour."""
    root = ET.fromstring(_drawn(timeline, width=width, height=height, legend=False))  # noqa: S314  written by pygal a moment ago
    _clean(root, timeline, moments(timeline))
    root.attrib = {"class": "chart", "viewBox": f"0 0 {width} {height}", "role": "img", "aria-label": described(timeline)}
    ET.register_namespace("", _SVG)
    return ET.tostring(root, encoding="unicode")


def described(timeline: Timeline) -> str:
    """What the chart shows, in a sentence for those who don't see it."""
    if not timeline.total_nanousd:
        return f"Spending by {timeline.key.value}: none."
    named = ", ".join(f"{label(timeline.key, series.name)} {short_usd(series.total_nanousd)}" for series in timeline.series)
    words = moments(timeline)
    return f"Spending by {timeline.key.value} from {words[0]} to {words[-1]}: {named}."


def label(key: Key, name: str | None) -> str:
    """A name for a reader; where the records have none, words that say so."""
    return f"no {key.value} named" if name is None else name


def moments(timeline: Timeline) -> list[str]:
    """When each step begins, in UTC and each once: a time within one day, else a day, with the time where a step is shorter."""
    begins = [datetime.fromtimestamp(start_ms / 1000, UTC) for start_ms in timeline.starts_ms]
    within_a_day = begins[0].date() == begins[-1].date()
    return [
        f"{at:%H:%M}" if within_a_day else f"{at.day} {at:%b}" if at.hour == at.minute == 0 else f"{at.day} {at:%b} {at:%H:%M}"
        for at in begins
    ]


def _signposts(words: list[str]) -> list[str]:
    """The few of them that stand below the chart: days where there are some, else as many as there is room for."""
    days = [word for word in words if ":" not in word]
    shown = days if len(days) > 1 else words
    across = _LABELS_ACROSS if all(len(word) <= _SHORT for word in shown) else 3
    return shown[:: max(1, -(-len(shown) // across))]


def draw_picture(timeline: Timeline, title: str, *, width: int = 1200, height: int = 630) -> bytes:
    """The chart as a PNG with its title and legend. The letters are Lato's, so that it looks the same where no font is installed."""
    import font_lato
    import resvg_py

    svg = _drawn(timeline, width=width, height=height, legend=True, title=title)
    fonts = str(Path(font_lato.__file__).parent / "files")
    png = resvg_py.svg_to_bytes(svg_string=svg, font_dirs=[fonts], font_family="Lato", sans_serif_family="Lato", background=_PAPER, zoom=2)
    return bytes(png)


def _drawn(timeline: Timeline, *, width: int, height: int, legend: bool, title: str | None = None) -> str:
    pygal = _pygal_without_its_hook()
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
    chart.x_labels = moments(timeline)
    chart.x_labels_major = _signposts(chart.x_labels)
    chart.max_scale = 5
    for series in timeline.series:
        chart.add(label(timeline.key, series.name), list(series.amounts_nanousd))
    return str(chart.render(is_unicode=True))


def _pygal_without_its_hook() -> ModuleType:
    """Pygal leaves an import hook of Python 2's kind behind, for plugins we don't have: each import that fails would warn of it."""
    before = list(sys.meta_path)
    import pygal

    sys.meta_path[:] = [finder for finder in sys.meta_path if finder in before or type(finder).__module__ != "pygal"]
    module: ModuleType = pygal
    return module


def _dollars(amount_nanousd: float) -> str:
    """Pygal counts the places of its axis in floats; whole nano-dollars come back."""
    return short_usd(round(amount_nanousd))


def _clean(element: ET.Element, timeline: Timeline, labels: list[str], series: int = 0) -> None:
    """Take out what a strict content policy forbids or a page has no use of, and give each bar words of its own."""
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
    colour = "series-rest" if shown.is_rest else f"series-{series}"
    for bar, at, amount in zip(list(bars), labels, shown.amounts_nanousd, strict=False):
        if not amount:
            bars.remove(bar)
            continue
        bar.set("class", f"bar {colour}")
        title = ET.Element(f"{{{_SVG}}}title")
        title.text = f"{at}, {label(timeline.key, shown.name)}: {short_usd(amount)}"
        bar.insert(0, title)
