"""A Sphinx extension for values and names: comments of constants, defaults, names in backticks.

Autodoc finds the comment `#:` above a constant only for the module that defines it, not for the
package that exports it, and takes the docstring of the value's type instead. A signature with a
default such as `<built-in function print>` cannot be read, and is then shown without links. Of
`test_<metric>` the role of names would show the first half alone, as a title.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from sphinx.domains.python import PyXRefRole
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.logging import getLogger

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

#: A function, class or object as it is printed; what has no name becomes an ellipsis.
_UNWRITTEN = re.compile(
    r"<(?:built-in function |class ')(\w+)'?>|<(?:function <lambda>.*?|factory|[\w.]+ object.*?)>"
)


#: Kinds of values: of a colon in their first line napoleon makes `type: description`.
_VALUES = ("attribute", "data", "property")
#: Lines of what is being documented, as they are before napoleon.
_KEPT: dict[str, list[str]] = {}


class Name(PyXRefRole):
    """A name in backticks, with all its characters; a title has a space after it."""

    explicit_title_re = re.compile(r"^(.+?)\s+(?<!\x00)<([^<]*?)>$", re.S)


def comment(full_name: str, value: Any) -> list[str]:
    """Lines of the comment of a constant, wherever its package defines it; empty without one."""
    package, _, name = full_name.rpartition(".")
    top = package.partition(".")[0]
    for module in [package, *sorted(each for each in sys.modules if each.startswith(f"{top}."))]:
        if vars(sys.modules[module]).get(name) is value:
            comments = ModuleAnalyzer.for_module(module).find_attr_docs()
            if ("", name) in comments:
                return comments["", name]
    return []


def document(
    _app: Sphinx, what: str, name: str, value: Any, _options: Any, lines: list[str]
) -> None:
    """Replace the lines of a constant's documentation by its comment."""
    if what == "data":
        lines[:] = comment(name, value)
        if not lines:
            getLogger(__name__).warning("%s has no comment `#:` that says what it is", name)
    if what in _VALUES:
        _KEPT[name] = list(lines)


def restore(
    _app: Sphinx, what: str, name: str, _value: Any, _options: Any, lines: list[str]
) -> None:
    """Restore the lines of a value, of which napoleon made a type and a description."""
    if what in _VALUES:
        lines[:] = _KEPT.pop(name)


def write_defaults(
    _app: Sphinx,
    _what: str,
    _name: str,
    _value: Any,
    _options: Any,
    arguments: str | None,
    returns: str | None,
) -> tuple[str, str | None] | None:
    """Write defaults in a signature as code has them."""
    if arguments is None:
        return None
    return _UNWRITTEN.sub(lambda found: found[1] or "...", arguments), returns


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register with Sphinx."""
    app.add_role_to_domain("py", "obj", Name(), override=True)
    app.connect("autodoc-process-docstring", document, priority=100)
    app.connect("autodoc-process-docstring", restore, priority=900)
    app.connect("autodoc-process-signature", write_defaults)
    return {"parallel_read_safe": True}
