"""The templates of the page: everything that is not markup of ours is escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from analysis.report.numbers import count

_FOLDER = "templates"
#: Names of more characters may break after one of these, which are part of no escaped character;
#: not inside a number.
_LONG, _BREAKS = 10, re.compile(r"([(,=+/_]|(?<!\d)\.|\.(?!\d))")


@cache
def environment() -> Environment:
    """Jinja's environment of the package's templates, with escaping of all that is filled in."""
    made = Environment(
        loader=PackageLoader("analysis.report", _FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=False,
        keep_trailing_newline=True,
    )
    made.filters |= {"count": count, "exact": _exact, "name": _name}
    return made


@cache
def text_of(name: str) -> Markup:
    """A file of ours, the style or the script, that stands in the page as it is."""
    return Markup(files("analysis.report").joinpath(_FOLDER, name).read_text(encoding="utf-8"))


def policy(scripts: Sequence[str]) -> str:
    """The page's content security policy: these scripts run and no other, nothing is loaded.

    So a name with markup in it could neither run nor send anything, even if it were not escaped.
    """
    digests = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts
    ]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; base-uri 'none'; "
        "form-action 'none'"
    )


def _name(text: str) -> Markup:
    """A name, isolated from the direction of what stands round it; long ones may break."""
    shown = escape(text)
    if len(text) > _LONG:
        shown = Markup(_BREAKS.sub(r"\1<wbr>", str(shown)))
    return Markup("<bdi>{}</bdi>").format(shown)


def _exact(value: float) -> str:
    """A number for a script: all its digits, as few as tell it apart from all others."""
    return (
        repr(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
    )
