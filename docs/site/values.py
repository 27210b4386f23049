"""A Sphinx extension for values: comments of constants, and defaults that Python does not write.

Autodoc finds the comment `#:` above a constant only for the module that defines it, not for the
package that exports it, and takes the docstring of the value's type instead. A signature with a
default such as `<built-in function print>` cannot be read, and is then shown without links.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from sphinx.pycode import ModuleAnalyzer
from sphinx.util.logging import getLogger

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

#: A function, class or object as it is printed; what has no name becomes an ellipsis.
_UNWRITTEN = re.compile(
    r"<(?:built-in function |class ')(\w+)'?>|<(?:function <lambda>.*?|factory|[\w.]+ object.*?)>"
)


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
    if what != "data":
        return
    lines[:] = comment(name, value)
    if not lines:
        getLogger(__name__).warning("%s has no comment `#:` that says what it is", name)


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
    # Before napoleon, which takes a colon in a comment for the end of a type.
    app.connect("autodoc-process-docstring", document, priority=100)
    app.connect("autodoc-process-signature", write_defaults)
    return {"parallel_read_safe": True}
