"""Brings the study of a bundle into a store, which keeps whatever it has already."""

from __future__ import annotations

import filecmp
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from analysis.contract import FAILURE, PLAN, RESULT, SPEC
from study.bundle import reading
from study.bundle.layout import CARD, CROISSANT, LICENSE, OF_ONE_STORE, REPLICATE_FILES
from study.bundle.reading import Bundle
from study.errors import SpecError
from study.run.at_work import at_work
from study.run.locations import open_store
from trainers.data.atomic import ABANDONED_SECONDS
from trainers.store.folder import Folder, StorageError, written_at
from trainers.store.lease import LEASE, Lease, LeasedError
from trainers.store.records import ResultRecord
from trainers.store.store import WEIGHTS, CorruptError, Replicate, Store

MAX_GIB = 20.0
#: Pages of a bundle are for readers: they may hold scripts, and `archprior report` makes its own.
_NOT_BROUGHT = (".html",)
#: Begin of the name of a folder in a store in which a bundle is unpacked.
PREFIX = ".import-"


@dataclass(frozen=True)
class Brought:
    """An imported study: how many replicates were added, were there, or are kept as they are.

    `weights` says whether the bundle has weights; `num_weights` replicates were there without.
    """

    study: str
    num_added: int
    num_there: int
    num_unfinished: int
    num_other: int
    weights: bool
    num_weights: int = 0


def bring(
    path: str | os.PathLike[str], store: str | os.PathLike[str], *, max_gib: float = MAX_GIB
) -> Brought:
    """Import the study of a bundle into a store, its replicates with their ids.

    All of it is unpacked beside the store and checked before anything is written. Replicates that
    the store has stay as they are, finished or not. Raises SpecError for a file that is no whole
    bundle, or larger than `max_gib` when unpacked, and where the store has another study of its
    name.
    """
    if math.isnan(max_gib):
        raise SpecError("--max-gib: nan is no size")
    with ExitStack() as stack:
        bundle = stack.enter_context(reading.opened(path, int(min(max_gib, 2**30) * 2**30)))
        # Not before: a store that is made for no bundle would seem to have been used.
        place = open_store(store)
        staged = stack.enter_context(_staged(bundle, place))
        name = bundle.manifest.study
        folder = place.root / "studies" / name
        files = {each: staged / each for each in bundle.manifest.files}
        planned = reading.planned_ids(bundle, _needed(bundle, files, f"studies/{name}/{PLAN}"))
        _needed(bundle, files, f"studies/{name}/{SPEC}")
        replicates = _by_folder(files, "replicates")
        strangers = replicates.keys() - planned
        if strangers:
            raise bundle.refused(f"replicates/{min(strangers)}", "is not in the study's plan")
        for each in replicates:
            reading.check_replicate(bundle, each)
        _check_other(bundle, folder, files)
        with at_work(folder, name):
            # It may have been planned meanwhile.
            _check_other(bundle, folder, files)
            outcomes = [_add(place, each, parts) for each, parts in replicates.items()]
            for pair, parts in _by_folder(files, "alignments").items():
                _keep_or_write(place.root / "alignments" / pair, parts)
            _keep_or_write(folder, _of_study(files, name))
    return Brought(
        name, outcomes.count("added"), outcomes.count("there"), outcomes.count("unfinished"),
        outcomes.count("other"), bundle.manifest.weights, outcomes.count("weights"),
    )  # fmt: skip


@contextmanager
def _staged(bundle: Bundle, store: Store) -> Iterator[Path]:
    """Context of a folder with all files of a bundle, each checked; it is removed afterwards."""
    beside = store.uri if store.root.is_local else tempfile.gettempdir()
    _remove_abandoned(Path(beside))
    free = shutil.disk_usage(beside).free
    if bundle.num_bytes > free:
        raise SpecError(
            f"{bundle.source} unpacks to {bundle.num_bytes / 2**30:.3g} GiB; {beside} has "
            f"{free / 2**30:.3g} GiB free"
        )
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=beside) as folder:
        for path in bundle.manifest.files:
            if path in (CARD, CROISSANT, LICENSE):
                continue
            content = Path(folder, path)
            try:
                content.parent.mkdir(parents=True, exist_ok=True)
                with content.open("xb") as file:
                    bundle.unpack(path, file)
            except OSError as error:
                raise StorageError(f"cannot write {content}: {error.strerror or error}") from error
            reading.check_content(bundle, path, content)
        yield Path(folder)


def _remove_abandoned(beside: Path) -> None:
    """Remove what imports that were killed have left, a day after."""
    for folder in beside.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _needed(bundle: Bundle, files: Mapping[str, Path], path: str) -> Path:
    if path not in files:
        raise bundle.refused(path, "is missing")
    return files[path]


def _by_folder(files: Mapping[str, Path], parent: str) -> dict[str, dict[str, Path]]:
    """Unpacked files below a folder, by the folder in it and their name there."""
    found: dict[str, dict[str, Path]] = {}
    for path, content in files.items():
        top, _, rest = path.partition("/")
        if top == parent:
            inner, _, name = rest.partition("/")
            found.setdefault(inner, {})[name] = content
    return found


def _of_study(files: Mapping[str, Path], name: str) -> dict[str, Path]:
    """Files of the study's folder, the spec last: with it the study is there."""
    own = _by_folder(files, "studies")[name]
    brought = {
        each: at
        for each, at in own.items()
        if each not in OF_ONE_STORE and not each.endswith(_NOT_BROUGHT)
    }
    return dict(sorted(brought.items(), key=lambda item: item[0] == SPEC))


def _check_other(bundle: Bundle, folder: Folder, files: Mapping[str, Path]) -> None:
    """Raise SpecError where the store has another study of this name."""
    name = bundle.manifest.study
    for part in (SPEC, PLAN):
        brought = files[f"studies/{name}/{part}"].read_bytes()
        if folder.exists(part) and folder.read(part) != brought:
            raise SpecError(
                f"the store has another study {name!r} (its {part} differs): import into another "
                "--store; nothing was imported"
            )


def _add(store: Store, identifier: str, parts: Mapping[str, Path]) -> str:
    """Add a replicate unless the store has one of this id.

    Returns `added`, `there`, `weights`, `unfinished` or `other`: `weights` were lacking and are
    there now, `other` is finished here with other numbers, as on another type of processor.
    """
    replicate = store.replicate(identifier)
    try:
        with suppress(CorruptError):
            result = replicate.result()
            if result is not None:
                return _complete(replicate, result, parts)
        if _is_begun(replicate.folder, parts):
            return "unfinished"
        with Lease(replicate.folder):
            for name in REPLICATE_FILES:
                if name in parts:
                    _write(replicate.folder, name, parts[name])
    except LeasedError:
        return "unfinished"
    return "added"


def _complete(replicate: Replicate, result: ResultRecord, parts: Mapping[str, Path]) -> str:
    """Give a finished replicate the weights that it lacks; its outcome. Raises LeasedError."""
    if not _same_numbers(result.metrics, parts):
        return "other"
    lacking, weights = result.absent.get(WEIGHTS), parts.get(WEIGHTS)
    if lacking is None or weights is None or written_at(weights) != lacking:
        return "there"
    with Lease(replicate.folder):
        _write(replicate.folder, WEIGHTS, weights)
        whole = replace(result, files={**result.files, WEIGHTS: lacking}, absent={})
        replicate.folder.write(RESULT, whole.encode())
    return "weights"


def _is_begun(folder: Folder, parts: Mapping[str, Path]) -> bool:
    """Whether an unfinished replicate is more than the beginning of an import that was killed."""
    if folder.exists(FAILURE):
        return True
    for name, _ in folder.sizes():
        if name == LEASE or name.rpartition("/")[2].startswith("."):
            continue
        if name not in parts:
            return True
        with folder.local(name) as here:
            if not filecmp.cmp(here, parts[name], shallow=False):
                return True
    return False


def _same_numbers(metrics: Mapping[str, float], parts: Mapping[str, Path]) -> bool:
    if RESULT not in parts:
        return False
    return ResultRecord.decode(parts[RESULT].read_bytes()).metrics == metrics


def _keep_or_write(folder: Folder, parts: Mapping[str, Path]) -> None:
    """Write the files that a folder does not have."""
    for name, content in parts.items():
        if not folder.exists(name):
            _write(folder, name, content)


def _write(folder: Folder, name: str, content: Path) -> None:
    if name == WEIGHTS or not folder.is_local:
        folder.write_with(name, partial(shutil.copyfile, content))
    else:
        folder.write(name, content.read_bytes())


def lines(brought: Brought) -> Iterable[str]:
    """The outcome of an import in words."""
    counts = {
        "there already": brought.num_there,
        "there and given their weights": brought.num_weights,
        "unfinished here, kept": brought.num_unfinished,
        "finished here with other numbers, kept": brought.num_other,
    }
    others = "".join(f", {count} {words}" for words, count in counts.items() if count)
    yield f"study {brought.study}: {brought.num_added} replicates added{others}"
    if not brought.weights:
        yield "without weights: its networks cannot guide or be compared anew"
