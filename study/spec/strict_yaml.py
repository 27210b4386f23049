"""Reads a spec's YAML: data only, without duplicate keys or nested anchors.

Plain values are those of YAML 1.2 (core schema), which are what people expect: `1e3` is a number,
`no` and `2026-01-31` are text. Numbers that YAML 1.1 reads differently are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from decimal import Decimal
from typing import Any

import yaml

from trainers.errors import UserError

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_ODD = "!odd"
#: Largest spec. Those that people write have kilobytes, and parsing takes seconds a megabyte.
MAX_BYTES = 2 * 2**20
_MAX_DIGITS = 300
_PLAIN = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "merge": (r"<<", "<"),
}
#: Numbers of YAML 1.1 (octal, base 60, binary, grouped digits), and similar texts.
_ODD_NUMBERS = (
    r"[-+]?0[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9]*)?"
    r"|[-+]?0b[01_]+|0x[0-9a-fA-F]*_[0-9a-fA-F_]*"
    r"|[-+]?(?:[0-9]+_[0-9_]*(?:\.[0-9_]*)?|[0-9]*\.[0-9]+_[0-9_]*)(?:[eE][-+]?[0-9]+)?"
)


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses duplicate keys, tags and nested anchors."""

    _inside_anchor = False

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, f"a key is a plain value, not {key!r}", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"duplicate key {key!r}", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        anchored = getattr(event, "anchor", None) is not None
        if self._inside_anchor and anchored:
            raise yaml.composer.ComposerError(
                None, None, "anchors and aliases inside an anchored value", event.start_mark
            )
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(
                None, None, f"tags are not allowed ({event.tag})", event.start_mark
            )
        outer = self._inside_anchor
        self._inside_anchor = outer or (anchored and not isinstance(event, yaml.AliasEvent))
        try:
            return super().compose_node(parent, index)
        finally:
            self._inside_anchor = outer


def _number(_loader: _Loader, node: yaml.ScalarNode) -> int | float:
    text = node.value.lower()
    if len(text) > _MAX_DIGITS:
        raise yaml.constructor.ConstructorError(
            None, None, f"a number of {len(text)} characters", node.start_mark
        )
    if text[:2] in ("0x", "0o"):
        return int(text, 0)
    if text.lstrip("-+") in (".inf", ".nan"):
        return float(text.replace(".", ""))
    if "." in text or "e-" in text or abs(float(text)) == math.inf:
        return float(text)
    # A count may be written `1e3`.
    return int(Decimal(text))


def _odd_number(_loader: _Loader, node: yaml.ScalarNode) -> None:
    raise yaml.constructor.ConstructorError(
        None, None,
        f"{node.value} is not one number to everybody (octal, base 60, binary or grouped digits): "
        f"write it with decimal digits alone, or '{node.value}' in quotes if it is text",
        node.start_mark,
    )  # fmt: skip


_Loader.yaml_implicit_resolvers = {}
# First, because the first that matches counts.
_Loader.add_implicit_resolver(_ODD, re.compile(f"(?:{_ODD_NUMBERS})$"), list("-+.0123456789"))
for _name, (_pattern, _first) in _PLAIN.items():
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"(?:{_pattern})$"), list(_first))
for _tag, _construct in ((f"{_TAG}int", _number), (f"{_TAG}float", _number), (_ODD, _odd_number)):
    _Loader.add_constructor(_tag, _construct)


def decode(content: bytes, source: str) -> str:
    """The text of a spec's file from its bytes, of which `MAX_BYTES` + 1 are enough.

    Raises UserError that names `source`, where it is too large or not UTF-8.
    """
    if len(content) > MAX_BYTES:
        raise UserError(f"{source}: not a spec: larger than {MAX_BYTES >> 20} MiB; split the study")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{source}: not a YAML file in UTF-8 ({error.reason} at byte {error.start}); save it "
            "as UTF-8"
        ) from error


def parse(text: str, source: str) -> dict[str, Any]:
    """The mapping that a YAML text holds; raises UserError that names `source` and the line."""
    try:
        content = yaml.load(text, Loader=_Loader)
    except RecursionError as error:
        raise UserError(f"{source}: not a readable YAML file: nested too deeply") from error
    except yaml.YAMLError as error:
        raise UserError(f"{source}: not a readable YAML file: {_line(error)}") from error
    if not isinstance(content, dict):
        raise UserError(
            f"{source}: a spec is a mapping of keys to values (name: my-study, ...); this is "
            f"{_kind(content)}"
        )
    return content


def _line(error: yaml.YAMLError) -> str:
    """The mistake and its place in one line."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"character #x{error.character:02x} at position {error.position} is not allowed"
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    mark = error.problem_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}"
    if error.problem == "found character '\\t' that cannot start any token":
        return f"{place}: a tab; YAML is indented by spaces alone"
    context = f"{error.context}, " if error.context else ""
    return f"{place}: {context}{error.problem}"


def _kind(content: Any) -> str:
    """The content of a YAML text that is no mapping, in words."""
    if content is None:
        return "empty"
    if isinstance(content, list):
        return "a list (lines that begin with -)"
    return f"one value, {content!r:.80}"
