"""Fills the templates of this room: everything that is not markup of ours is escaped; knows Jinja, and no page."""

from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from paymaster.pages.drawing import draw_for_page, label, moments
from paymaster.version import __version__
from paymaster.views.spending import Timeline
from paymaster.views.words import percent, short_usd

_DRAWN = 64
"""Charts that are kept: most of the times a page is looked at again, nothing was spent in between."""
TEMPLATES = Path(__file__).parent / "templates"


class Pages:
    """The templates, read once. `more` are functions and values that a page needs besides."""

    def __init__(self, **more: object) -> None:
        environment = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        environment.globals.update(
            draw=lru_cache(_DRAWN)(_draw), label=label, moments=moments, percent=percent, short_usd=short_usd, version=__version__, **more
        )
        environment.globals["style"] = Markup(asset("style.css"))  # noqa: S704  a file of this package
        self._environment = environment

    def render(self, name: str, **values: object) -> str:
        """The template of that name with these values."""
        return self._environment.get_template(name).render(values)


def asset(name: str) -> str:
    """A file that a page needs beside its markup."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _draw(timeline: Timeline) -> Markup:
    """Pygal writes names as text nodes and attributes, escaped: what comes of it is markup."""
    return Markup(draw_for_page(timeline))  # noqa: S704  written by an XML writer, names and all
