"""Files that can go from a store: none that a study needs, or would have to train again."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from analysis import plan_file
from analysis.contract import RESULT, SPEC
from analysis.database import ARTIFACTS_FOLDER
from analysis.errors import UserError
from analysis.names import is_name
from study.bundle.bringing import PREFIX
from study.errors import SpecError
from trainers.data.atomic import ABANDONED_SECONDS, is_temporary
from trainers.store.folder import Folder
from trainers.store.lease import EXPIRE_SECONDS, LEASE, holder
from trainers.store.store import GUIDE_CACHE, WEIGHTS, CorruptError, Store

_REPLICATE = re.compile("[0-9a-f]{16}")


class Kind(StrEnum):
    """Kinds of waste, in the words of the command."""

    checkpoints = "checkpoints of finished replicates"
    temporaries = "temporary files of processes that were killed"
    leases = "expired leases"
    caches = "features of guides, which the next run computes again"
    ray = "files of runs on Ray that are over"
    unused = "replicates of no study, and comparisons and profiles of them"


@dataclass(frozen=True)
class Waste:
    """A file or folder that can go: its path below the store, and size in bytes.

    `sizes` are those of the files in it by path, `found` is the time, in seconds since 1970.
    """

    kind: Kind
    path: str
    num_bytes: int
    sizes: Mapping[str, int]
    found: float


def find(store: Store, *, unused: bool = False) -> list[Waste]:
    """The waste in a store; with `unused` also what no plan lists and no spec names.

    While a process is at work in the store, caches and files of Ray count as needed. Raises
    SpecError where the store cannot be read, or `unused` cannot be told: a process is at work, a
    study has no readable plan, or its folder is a link, whose content is not seen.
    """
    try:
        return list(_Search(store.root, dict(store.root.sizes())).found(unused=unused))
    except OSError as error:
        raise SpecError(f"--store: {store.uri} cannot be read: {error}") from error


def remove(store: Store, waste: Waste) -> bool:
    """Remove a file or folder, unless it has changed since it was found; returns whether it went.

    What a process holds, or may be at work on, by now, stays too. The look is just before the
    removal, not one step with it. Raises SpecError where the store does not allow it.
    """
    root = store.root
    try:
        if _is_needed_now(root, waste) or _has_changed(root, waste):
            return False
        root.remove(waste.path)
    except FileNotFoundError:
        # Its own process has.
        return False
    except OSError as error:
        raise SpecError(f"--store: {store.uri}/{waste.path} cannot be removed: {error}") from error
    return True


def _is_needed_now(root: Folder, waste: Waste) -> bool:
    """Whether the lease of what waste is, or lies in, is held; for some kinds, of any study."""
    parts = waste.path.split("/")
    folders = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    if waste.kind in (Kind.caches, Kind.ray, Kind.unused):
        folders += [f"studies/{name}" for name in (root / "studies").names()]
    return any(_is_held(root / folder) for folder in folders)


def _is_held(folder: Folder) -> bool:
    try:
        return holder(folder) is not None
    except NotADirectoryError:
        return False


def _has_changed(root: Folder, waste: Waste) -> bool:
    """Whether files have come, gone or been written since waste was found."""
    below = {f"{waste.path}/{name}": size for name, size in (root / waste.path).sizes()}
    size = None if below else root.size(waste.path)
    now = below if size is None else {waste.path: size}
    written = (root.modified(path) for path in waste.sizes)
    return now != waste.sizes or any(time is None or time > waste.found for time in written)


class _Search:
    """A search through all files of a store, which are listed once."""

    def __init__(self, root: Folder, sizes: Mapping[str, int]) -> None:
        self._root, self._sizes, self._now = root, sizes, time.time()
        leases = [path.rpartition("/")[0] for path in sizes if path.endswith(f"/{LEASE}")]
        self._held = {path for path in leases if holder(root / path) is not None}
        self._expired = [path for path in leases if path not in self._held]

    def found(self, *, unused: bool) -> Iterator[Waste]:
        """Waste of all kinds, nothing twice."""
        lost = set(self._unused()) if unused else set()
        yield from self._whole(Kind.unused, lost)
        rest = {path for path in self._sizes if _top(path, 2) not in lost}
        temporary = {path: top for path in rest if (top := _temporary(path)) is not None}
        abandoned = set(temporary.values()) - {
            top for path, top in temporary.items() if not self._is_old(path, ABANDONED_SECONDS)
        }
        yield from self._whole(Kind.temporaries, abandoned)
        rest -= temporary.keys()
        yield from self._whole(Kind.checkpoints, set(self._checkpoints(rest)))
        leases = [f"{path}/{LEASE}" for path in self._expired]
        old = {path for path in leases if path in rest and self._is_old(path, 2 * EXPIRE_SECONDS)}
        if not self._held:
            cached = {path for path in rest if path.startswith(f"{GUIDE_CACHE}/")}
            # Whose process may be about to take the lease of a replicate that uses it.
            fresh = {_top(path, 3) for path in cached if not self._is_old(path, EXPIRE_SECONDS)}
            yield from self._whole(Kind.caches, {_top(path, 3) for path in cached} - fresh)
            old -= {path for path in old if path.startswith(f"{GUIDE_CACHE}/")}
            of_ray = {_top(path, 2) for path in rest if path.startswith("ray/")}
            recent = {_top(path, 2) for path in rest if path.startswith("ray/")
                      and not self._is_old(path, ABANDONED_SECONDS)}  # fmt: skip
            yield from self._whole(Kind.ray, of_ray - recent)
        yield from self._whole(Kind.leases, old)

    def _checkpoints(self, paths: set[str]) -> Iterator[str]:
        """Files that finished replicates have in their checkpoints and their result does not list.

        Of a damaged replicate, nothing is known.
        """
        by_replicate: dict[str, list[str]] = {}
        for path in paths:
            parts = path.split("/")
            if len(parts) == 4 and parts[0] == "replicates" and parts[2] == "checkpoint":
                by_replicate.setdefault(parts[1], []).append("/".join(parts[2:]))
        for identifier, names in by_replicate.items():
            folder = f"replicates/{identifier}"
            finished = f"{folder}/{RESULT}" in self._sizes and folder not in self._held
            if not finished or names == [WEIGHTS]:
                continue
            with suppress(CorruptError):
                result = Store(self._root.uri).replicate(identifier).result()
                kept = () if result is None else {WEIGHTS, *result.files}
                yield from (f"{folder}/{name}" for name in names if kept and name not in kept)

    def _unused(self) -> Iterator[str]:
        """Folders of replicates of no study, of comparisons with them, and their profiles."""
        if self._held:
            path = min(self._held)
            raise SpecError(
                f"--unused: {holder(self._root / path) or 'a process'} is at work on {path}: "
                "try again when it is over"
            )
        for name in ("studies", "replicates"):
            if self._root.is_local and Path(self._root.uri, name).is_symlink():
                raise SpecError(
                    f"--unused: {self._root.uri}/{name} is a link, behind which gc does not look: "
                    "give the store that has the folder"
                )
        known = {_top(path, 2) for path in self._sizes if path.startswith("replicates/")}
        needed = self._needed() if known else set()
        lost = {
            path
            for path in known
            if _REPLICATE.fullmatch(name := path.partition("/")[2]) and name not in needed
        }
        yield from lost
        for path in {_top(path, 2) for path in self._sizes if path.startswith("alignments/")}:
            pair = path.partition("/")[2].split("-")
            if any(f"replicates/{name}" in lost for name in pair):
                yield path
        for path in self._sizes:
            folder, _, name = path.partition("/")
            if folder == "profiles" and f"replicates/{name.partition('.')[0]}" in lost:
                yield path

    def _needed(self) -> set[str]:
        """Ids of replicates that a plan lists, or that are named in a spec or a plan's row."""
        needed: set[str] = set()
        has_plan = False
        folders = set((self._root / "studies").names())
        # An older archprior wrote plans there alone; others have folders there, too.
        for study in sorted(
            filter(is_name, folders | set((self._root / ARTIFACTS_FOLDER).names()))
        ):
            try:
                plan = plan_file.stored(study, self._root.uri)
            except UserError as error:
                raise SpecError(f"--unused: {error}") from error
            if plan is not None:
                has_plan = True
                for row in plan.to_pylist():
                    needed.update(_REPLICATE.findall(repr(row)))
            elif study in folders:
                raise SpecError(
                    f"--unused: study {study!r} has no plan, so what it uses is not known: "
                    "archprior run SPEC writes it, or remove its folder"
                )
            with suppress(FileNotFoundError):
                spec = self._root.read(f"studies/{study}/{SPEC}").decode("utf-8", "replace")
                needed.update(_REPLICATE.findall(spec))
        if not has_plan:
            raise SpecError(
                f"--unused: {self._root.uri} has replicates and no plan of any study, so what uses "
                "them is not known: archprior run SPEC writes a plan, or remove the store"
            )
        return needed

    def _whole(self, kind: Kind, tops: set[str]) -> Iterator[Waste]:
        """Waste for each of some files and folders, with the sizes of all that is in it."""
        files: dict[str, dict[str, int]] = {path: {} for path in sorted(tops)}
        for path, size in self._sizes.items() if files else ():
            top = next((each for each in _prefixes(path) if each in files), None)
            if top is not None:
                files[top][path] = size
        for path, sizes in files.items():
            yield Waste(kind, path, sum(sizes.values()), sizes, self._now)

    def _is_old(self, path: str, seconds: float) -> bool:
        modified = self._root.modified(path)
        return modified is not None and self._now - modified > seconds


def _prefixes(path: str) -> Iterator[str]:
    """The folders of a path from the top, then the path itself."""
    parts = path.split("/")
    yield from ("/".join(parts[: count + 1]) for count in range(len(parts)))


def _top(path: str, count: int) -> str:
    """The first so many parts of a path."""
    return "/".join(path.split("/")[:count])


def _temporary(path: str) -> str | None:
    """The temporary file or folder that a path is or lies in; None if it is in none."""
    for each in _prefixes(path):
        name = each.rpartition("/")[2]
        if is_temporary(name) or name.startswith(PREFIX):
            return each
    return None
