"""Fills the templates of this room, and escapes everything that is not their own markup; knows Jinja, and no page."""

from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from paymaster.pages.drawing import draw_for_page, label, step_labels
from paymaster.version import __version__
from paymaster.views.spending import Timeline
from paymaster.views.words import percent, short_usd

_CACHED_CHARTS = 64
"""Charts kept in memory: most reloads of a page show the same spending."""
TEMPLATES = Path(__file__).parent / "templates"


class Pages:
    """The templates, read once. `extra` are more functions and values for the templates."""

    def __init__(self, **extra: object) -> None:
        environment = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        environment.globals.update(
            draw=lru_cache(_CACHED_CHARTS)(_draw),
            label=label,
            step_labels=step_labels,
            percent=percent,
            short_usd=short_usd,
            version=__version__,
            **extra,
        )
        environment.globals["style"] = Markup(asset("style.css"))  # noqa: S704  a file of this package
        self._environment = environment

    def render(self, name: str, **values: object) -> str:
        """The template of that name with these values."""
        return self._environment.get_template(name).render(values)


def asset(name: str) -> str:
    """A style sheet or script of a page."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _draw(timeline: Timeline) -> Markup:
    """Pygal escapes names in text nodes and attributes, so its output is safe markup."""
    return Markup(draw_for_page(timeline))  # noqa: S704  written by an XML writer, names and all
