"""Writes a study of a store as a bundle."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import analysis
from analysis import parquet_files
from analysis.cells import records
from analysis.contract import FAILURE, PLAN, RESULT, SPEC
from analysis.encoded_tables import EncodedTables
from analysis.questions import question
from analysis.schema import SCHEMAS
from analysis.sentences import sentences
from study.bundle import card, croissant
from study.bundle.layout import (
    CARD,
    CROISSANT,
    LICENSE,
    MANIFEST,
    OF_ONE_STORE,
    REPLICATE_FILES,
    Listed,
    Manifest,
    is_allowed,
)
from study.errors import SpecError
from study.plan import table
from study.run.locations import existing_store
from trainers.data import atomic
from trainers.store.folder import Folder
from trainers.store.records import ResultRecord
from trainers.store.store import WEIGHTS, CorruptError, Replicate, Store

_LICENSE_ID = r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}"
#: Zip has no earlier day; a bundle's bytes depend on its content alone.
_DAY = (1980, 1, 1, 0, 0, 0)
_BLOCK = 2**20


@dataclass(frozen=True)
class Written:
    """A bundle that was written: its path and size, its replicates, and those without a result."""

    path: Path
    num_bytes: int
    num_replicates: int
    num_absent: int


def export(
    study: str,
    store: str | os.PathLike[str],
    to: str | os.PathLike[str],
    *,
    weights: bool = False,
    license: str = "unknown",
) -> Written:
    """Write a study with its replicates to a zip file, replacing one of before.

    Its tables are brought up to date first. `license` is an SPDX identifier, or a file with the
    text. Raises SpecError or UserError where there is no such study, a file of it is damaged, or
    `to` cannot be written.
    """
    path = Path(to)
    if path.suffix.lower() != ".zip":
        raise SpecError(f"--to: {to}: a bundle is a file that ends in .zip")
    place = existing_store(store)
    plan = table.read(study, place)
    if plan is None:
        raise parquet_files.unknown_study(study, place.uri)
    identifier, text = _license(license)
    tables = analysis.refresh(study, store=place.uri) or EncodedTables(
        parquet_files.contents(place.uri, study, SCHEMAS)
    )
    try:
        with (
            atomic.replaced(path.absolute(), durable=True) as partial,
            zipfile.ZipFile(partial, "w") as archive,
        ):
            bundle = _Bundle(archive)
            ids = list(dict.fromkeys(row["replicate_id"] for row in plan.rows))
            bundle.add(LICENSE, text)
            _add_study(bundle, place.root / "studies" / study, f"studies/{study}", tables.files)
            present = {each for each in ids if _add_replicate(bundle, place, each, weights=weights)}
            _add_alignments(bundle, place, present)
            _finish(bundle, study, place, tables, identifier, weights=weights)
    except CorruptError as error:
        raise SpecError(f"{error}; archprior run SPEC trains it anew") from error
    except OSError as error:
        raise SpecError(f"--to: {to} cannot be written: {error.strerror or error}") from error
    return Written(path, path.stat().st_size, len(present), len(ids) - len(present))


@dataclass
class _Bundle:
    """A zip file that is being written, and what it holds so far."""

    archive: zipfile.ZipFile
    files: dict[str, Listed] = field(default_factory=dict)

    def add(self, path: str, content: bytes, *, listed: bool = True) -> None:
        """Add a file; the manifest is not `listed` in itself."""
        self.archive.writestr(_info(path), content)
        if listed:
            self.files[path] = Listed(len(content), hashlib.sha256(content).hexdigest())

    def copy(self, path: str, source: Path) -> None:
        """Add a large file, read in blocks."""
        digest, size = hashlib.sha256(), 0
        with source.open("rb") as file, self.archive.open(_info(path), "w", force_zip64=True) as to:
            while block := file.read(_BLOCK):
                digest.update(block)
                size += len(block)
                to.write(block)
        self.files[path] = Listed(size, digest.hexdigest())


def _info(path: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(path, _DAY)
    # Parquet and weights are compressed, or do not compress.
    stored = path.endswith((".parquet", ".safetensors"))
    info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info


def _license(given: str) -> tuple[str, bytes]:
    """Identifier and text of a licence that was given as either."""
    path = Path(given)
    if path.is_file():
        return "other", path.read_bytes()
    if not re.fullmatch(_LICENSE_ID, given):
        raise SpecError(f"--license: {given!r} is neither a file nor an SPDX identifier (MIT, ...)")
    return given, card.license_text(given)


def _add_study(bundle: _Bundle, folder: Folder, path: str, tables: Mapping[str, bytes]) -> None:
    """Add a study's files, `tables` as they are now: a read-only store has those of before."""
    fresh = {f"{name}.parquet": content for name, content in tables.items()}
    for name in sorted({name for name, _ in folder.sizes()} | fresh.keys()):
        inside = f"{path}/{name}"
        if name not in OF_ONE_STORE and is_allowed(inside):
            bundle.add(inside, fresh.get(name) or folder.read(name))


def _add_replicate(bundle: _Bundle, store: Store, identifier: str, *, weights: bool) -> bool:
    """Add an ended replicate; returns whether there is one. Raises CorruptError."""
    replicate = store.replicate(identifier)
    result = replicate.result()
    failure = replicate.failure() if result is None else None
    if result is None and failure is None:
        return False
    if result is not None and not weights and WEIGHTS in result.files:
        kept = {name: each for name, each in result.files.items() if name != WEIGHTS}
        result = replace(result, files=kept, absent={WEIGHTS: result.files[WEIGHTS]})
    for name in REPLICATE_FILES:
        path = f"replicates/{identifier}/{name}"
        if name == RESULT and result is not None:
            bundle.add(path, result.encode())
        elif result is not None and name in result.files:
            _add_vouched(bundle, path, replicate, result, name)
        elif name == FAILURE and failure is not None:
            # Not as it stands in the file: an earlier version may have left secrets there.
            bundle.add(path, failure.encode())
        elif _is_loose(name) and replicate.folder.exists(name):
            bundle.add(path, replicate.folder.read(name))
    return True


def _is_loose(name: str) -> bool:
    """Whether a file of a replicate goes into a bundle without a result that lists it."""
    return name not in (RESULT, WEIGHTS, FAILURE)


def _add_vouched(
    bundle: _Bundle, path: str, replicate: Replicate, result: ResultRecord, name: str
) -> None:
    """Add a file that a result lists; raises CorruptError where its digest differs."""
    if name != WEIGHTS:
        bundle.add(path, replicate.read(name, result))
        return
    with replicate.folder.local(name) as local:
        bundle.copy(path, local)
    if bundle.files[path].sha256 != result.files[name].digest:
        raise replicate.corrupt(f"{name} is damaged")


def _add_alignments(bundle: _Bundle, store: Store, replicates: set[str]) -> None:
    """Add comparisons of two of these replicates."""
    for name, _ in sorted((store.root / "alignments").sizes()):
        pair = name.partition("/")[0].split("-")
        if {*pair} <= replicates and is_allowed(f"alignments/{name}"):
            bundle.add(f"alignments/{name}", (store.root / "alignments").read(name))


def _finish(
    bundle: _Bundle, study: str, store: Store, tables: EncodedTables, license: str, *, weights: bool
) -> None:
    """Add card, description and manifest."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = Manifest(
        study=study, archprior=metadata.version("archprior"), created=created, license=license,
        weights=weights, files=bundle.files,
    )  # fmt: skip
    folder = store.root / "studies" / study
    asked = question(folder.read(SPEC).decode("utf-8", "replace")) if folder.exists(SPEC) else ""
    schemas = dict(_schemas(bundle, folder, study, tables))
    bundle.add(
        CROISSANT,
        croissant.describe(
            manifest, asked or f"The archprior study {study}.", schemas, card.license_url(license)
        ),
    )
    bundle.add(
        CARD,
        card.write(
            manifest, question=asked, tables=list(schemas), sentences=_sentences(tables),
            provenance=_provenance(folder),
        ),
    )  # fmt: skip
    bundle.add(MANIFEST, manifest.encode(), listed=False)


def _schemas(
    bundle: _Bundle, folder: Folder, study: str, tables: EncodedTables
) -> Iterator[tuple[str, pa.Schema]]:
    for name in SCHEMAS:
        if f"studies/{study}/{name}.parquet" in bundle.files:
            content = tables.files.get(name) or folder.read(f"{name}.parquet")
            yield name, pq.read_schema(io.BytesIO(content))


def _sentences(tables: EncodedTables) -> list[str]:
    if "transfer" not in tables:
        return []
    transfer = tables["transfer"]
    return sentences(records(transfer[transfer["primary"] & (transfer["control"] == "none")]))


def _provenance(folder: Folder) -> list[str]:
    """Facts of the code that planned the study."""
    schema = pq.read_schema(io.BytesIO(folder.read(PLAN)))
    content = json.loads((schema.metadata or {}).get(parquet_files.METADATA_KEY, b"{}"))
    facts: Mapping[str, str] = content.get("provenance", {})
    return [f"{name}: {value}" for name, value in facts.items()]
