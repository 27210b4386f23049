"""Names of metrics as MLflow takes them; the store and the tables keep the true ones.

MLflow takes ASCII letters and digits, `_ - . : /` and spaces, at most 250 of them, where the name
is a normal relative path. Other characters, and `:`, are written as `:` and the two hexadecimal
digits of each byte of UTF-8: `test/acc@5` is `test/acc:405`. An empty name is `:`. Longer names are
cut off and end in `:.` and a digest.
"""

from __future__ import annotations

import hashlib
import re

LONGEST = 250

_DIGEST = 16
_REFUSED = re.compile(
    r"[^A-Za-z0-9_\-. /]"  # `:` among them, which begins an escape
    r"|(?<![^/])/|/\Z"  # no name before or after the slash
    r"|(?<![^/])\.{1,2}(?![^/])|\A\.\."  # `.` and `..`
)
_ESCAPE = re.compile(r"(?::[0-9a-f]{2})+")


def escaped(name: str) -> str:
    """The name of a metric in MLflow."""
    whole = _REFUSED.sub(lambda found: _hex(found[0]), name) or ":"
    if len(whole) <= LONGEST:
        return whole
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return f"{whole[: LONGEST - _DIGEST - 2]}:.{digest}"


def unescaped(name: str) -> str:
    """The true name of a metric; one that was cut off stays as it is."""
    if name == ":":
        return ""
    return _ESCAPE.sub(lambda found: _text(found[0]), name)


def _hex(text: str) -> str:
    return "".join(f":{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))


def _text(escape: str) -> str:
    return bytes.fromhex(escape.replace(":", "")).decode("utf-8", "surrogatepass")
