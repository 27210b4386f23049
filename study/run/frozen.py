"""Statements of a study as they were frozen before their confirmation, in the study's folder.

`confirm.json` is the confirmation that counts; `confirm-1.json` and so on are earlier ones, kept
with their tables.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from analysis.contract import FROZEN
from analysis.hints import command
from study.errors import SpecError
from study.spec.seeded import at_seeds
from trainers.data import json_mapping
from trainers.store.folder import Folder

TABLE = "confirm.parquet"
#: Keys of a spec that say what is to be confirmed.
STATEMENTS = ("expect", "confirm", "margin")
#: Key of the digest of a whole record, without itself.
_DIGEST = "digest"
#: Keys that change neither what is trained nor what is to be confirmed.
_ASIDE = ("name", "seeds", "imports", "resources", "checkpoint_every", "published")


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """Statements, the seeds that are to confirm them, and what was known of them before.

    `statements` are the keys `STATEMENTS` of the spec, `exploratory` their values then,
    `confirmation` is the name of the study at the `seeds`, `time` in ISO 8601. The digests are
    SHA-256 in hex of canonical JSON: of the statements, of the rest of the spec with the digests of
    its modules, and of the exploratory values. The file has one of the whole record, too.
    """

    attempt: int
    confirmation: str
    time: str
    seeds: list[int]
    statements: dict[str, Any]
    statements_digest: str
    conditions_digest: str
    exploratory: list[dict[str, Any]]
    exploratory_digest: str

    def check_unchanged(self, study: str, store: str, statements: str, conditions: str) -> None:
        """Raise SpecError unless the spec has these digests still; it names `study` and `store`."""
        if statements != self.statements_digest:
            what = "the expect:, confirm: or margin:"
        elif conditions != self.conditions_digest:
            what = "what is trained by the conditions"
        else:
            return
        anew = command("confirm", study, "--anew", store=store)
        raise SpecError(
            f"study {study!r}: {what} of its spec changed since it was frozen for "
            f"{self.confirmation} ({self.time}): {anew} freezes what the spec has now, for fresh "
            "seeds"
        )


def statements_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """The rules, rows and margins of a spec, where it has any."""
    return {key: content[key] for key in STATEMENTS if content.get(key)}


def conditions_digest(content: Mapping[str, Any], modules: str) -> str:
    """Digest of what a spec trains, apart from seeds; `modules` names its modules with digests."""
    whole = at_seeds(content, "", ())
    return digest([{k: v for k, v in whole.items() if k not in (*STATEMENTS, *_ASIDE)}, modules])


def digest(content: Any) -> str:
    """SHA-256 in hex of canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def read(folder: Folder) -> Frozen | None:
    """The confirmation that counts; None where there is none. Raises SpecError if it was edited."""
    return _read(folder, FROZEN)


def all_of(folder: Folder) -> list[Frozen]:
    """The confirmation that counts, and those that `--anew` has put aside, in no order."""
    names = (name for name in folder.names() if re.fullmatch(r"confirm(-\d+)?\.json", name))
    found = (_read(folder, name) for name in names)
    return [each for each in found if each is not None]


def write(folder: Folder, frozen: Frozen) -> None:
    """Make it the confirmation that counts; one of before is put aside, with its table."""
    before = read(folder)
    if before is not None:
        for name in (FROZEN, TABLE):
            if folder.exists(name):
                stem, _, suffix = name.partition(".")
                folder.write(f"{stem}-{before.attempt}.{suffix}", folder.read(name))
    content = asdict(frozen)
    content[_DIGEST] = digest(content)
    folder.write(FROZEN, json.dumps(content, indent=1, default=str).encode())
    folder.remove(TABLE)


def _read(folder: Folder, name: str) -> Frozen | None:
    if not folder.exists(name):
        return None
    try:
        content = json_mapping.parse(folder.read(name))
        # Records of before have digests of their parts alone.
        given = content.pop(_DIGEST, None)
        whole = given in (None, digest(content))
        found = Frozen(**content)
    except (ValueError, TypeError) as error:
        raise SpecError(f"{folder.uri}/{name} is damaged ({error}); {_AGAIN}") from error
    if not (
        whole
        and digest(found.statements) == found.statements_digest
        and digest(found.exploratory) == found.exploratory_digest
    ):
        raise SpecError(f"{folder.uri}/{name} is not what was frozen: it was edited; {_AGAIN}")
    return found


_AGAIN = "put it back from a copy, or move it away to freeze anew at seeds that are still unused"
