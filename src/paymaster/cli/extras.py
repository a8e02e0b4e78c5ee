"""Whether the packages of an optional part are installed; knows their names, and imports no more than it has to."""

from importlib.util import find_spec

from paymaster.errors import ExtraMissing

_CHARTS_ADVICE = "Install it with: pip install 'paymaster[charts]'"


def require_gateway() -> None:
    """Raise ExtraMissing if a package of the gateway is missing."""
    missing = [name for name in ("starlette", "uvicorn", "httptools") if find_spec(name) is None]
    if missing:
        raise ExtraMissing(f"the gateway needs {', '.join(missing)}", advice="Install it with: pip install 'paymaster[gateway]'")


def require_charts() -> None:
    """Raise ExtraMissing if a package for charts is missing."""
    if find_spec("pygal") is None:  # importing it takes a quarter of a second, and it is not needed yet
        raise ExtraMissing("charts need pygal, which is not installed", advice=_CHARTS_ADVICE)
    try:
        import font_lato  # noqa: F401  only whether it is installed
        import jinja2  # noqa: F401  the same
        import resvg_py  # noqa: F401  the same
    except ModuleNotFoundError as error:
        raise ExtraMissing(f"charts need {error.name}, which is not installed", advice=_CHARTS_ADVICE) from error
