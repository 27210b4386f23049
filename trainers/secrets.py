"""Texts without what may be secret in their URIs.

Of all our modules this alone is imported by the three packages, and it imports none: so an
exception of a user's code loses its secrets where it becomes a text, before it is stored or sent.
"""

from __future__ import annotations

import re

#: Up to the last @ of a word: names of users and passwords may hold one, and slashes.
_PASSWORD = re.compile(r"(://[^/\s:]*):[^\s]*@")
#: All before the host, of which the user's name may be a token.
_USER_OF_WEB = re.compile(r"(https?://)[^/?#\s\"\\]*@", re.IGNORECASE)
#: Keys with one of these words in them; the last one alone: `design` is innocent.
_KEYS = r"token|secret|key|password|passwd|pwd|signature|credential|(?<![a-z0-9])sig(?![a-z0-9])"
#: Up to a quote: the URI may stand in JSON.
_QUERY = re.compile(rf"([?&][^=?&\s]*(?:{_KEYS})[^=?&\s]*=)[^&\s\"\\]+", re.IGNORECASE)


def masked(text: str) -> str:
    """A URI, or a text with URIs in it, with `***` for what may be secret.

    That is a password, the values of query keys such as `access_token` and of signatures, and for
    http all that names the user: it may be a token.
    """
    without = _USER_OF_WEB.sub(r"\1***@", _PASSWORD.sub(r"\1:***@", text))
    return _QUERY.sub(r"\1***", without)


def holds_secret(uri: str) -> bool:
    """Whether `masked` hides a part of a URI."""
    return masked(uri) != uri
