"""Files of a bundle: their names, all that may be in one, and its manifest.

<study>.zip
  bundle.json                 the manifest: size and SHA-256 of every other file
  README.md, croissant.json, LICENSE.txt       for data-set hubs and people
  studies/<study>/...         spec, plan, tables, report, frozen confirmations
  replicates/<id>/...         results, histories, predictions; weights if asked for
  alignments/<id>-<id>/...    comparisons of networks
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

from analysis.contract import FAILURE, MLFLOW_RUNS, PROVENANCE, RESULT
from analysis.names import NAME, is_name
from study.errors import SpecError
from trainers.store.lease import LEASE
from trainers.store.store import REPLICATE_TABLES, WEIGHTS

MANIFEST, CARD, CROISSANT, LICENSE = "bundle.json", "README.md", "croissant.json", "LICENSE.txt"
#: Raised when an older archprior could not read a bundle.
FORMAT = 1
#: Files of a replicate that go into a bundle, the result last, as it makes a replicate finished.
REPLICATE_FILES = ("condition.json", PROVENANCE, *REPLICATE_TABLES, FAILURE, WEIGHTS, RESULT)
#: Files of a study's folder that mean nothing elsewhere.
OF_ONE_STORE = (MLFLOW_RUNS, LEASE)

_ID = r"[0-9a-f]{16}"
#: A part of a path: no hidden file, nothing that leads elsewhere.
_PART = r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}"
_ALLOWED = re.compile(
    "|".join(
        (
            "|".join(map(re.escape, (CARD, CROISSANT, LICENSE))),
            rf"studies/{NAME}/{_PART}\.(?:parquet|json|yaml|html)",
            rf"studies/{NAME}/imports/{_PART}(?:/{_PART}){{0,4}}",
            rf"replicates/{_ID}/(?:{'|'.join(map(re.escape, REPLICATE_FILES))})",
            rf"alignments/{_ID}-{_ID}/{_PART}\.parquet",
        )
    )
)


def is_allowed(path: str) -> bool:
    """Whether a bundle may have a file of this path; the manifest is apart."""
    return _ALLOWED.fullmatch(path) is not None


class Listed(NamedTuple):
    """Size in bytes and SHA-256 in hex of a file, as the manifest has them."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The list of a bundle's files, with facts about it.

    `license` is an SPDX identifier, or other or unknown.
    """

    study: str
    archprior: str
    created: str
    license: str
    weights: bool
    files: Mapping[str, Listed]
    format: int = FORMAT

    def encode(self) -> bytes:
        """The manifest as JSON."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()

    @classmethod
    def decode(cls, content: bytes, source: str) -> Manifest:
        """The manifest in JSON; raises SpecError where it is none, or of a newer archprior."""
        try:
            fields = json.loads(content)
            if fields["format"] > FORMAT:
                raise SpecError(
                    f"{source} has format {fields['format']}, this archprior reads up to {FORMAT}: "
                    "upgrade archprior to read it"
                )
            files = {
                str(path): Listed(int(size), str(digest))
                for path, (size, digest) in fields.pop("files").items()
            }
            found = cls(**fields, files=files)
        except (
            ArithmeticError, ValueError, TypeError, KeyError, AttributeError, RecursionError
        ) as error:  # fmt: skip
            if isinstance(error, SpecError):
                raise
            raise SpecError(f"{source}: {MANIFEST} is damaged ({error})") from error
        if not is_name(str(found.study)):
            raise SpecError(f"{source}: {found.study!r} cannot be the name of a study")
        return found
