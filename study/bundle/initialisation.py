"""Writes the weights of a replicate after its alignment as a file, for other studies to start from.

Its metadata, beside `format: pt` of safetensors, are texts under names that begin `archprior.`:

    version       the version that wrote it
    study, spec   name of the study, and its spec in YAML
    task, target  labels of the task and of the network
    replicate_id  id of the replicate, and its `seed`
    guide_ids     ids of the networks that ran as guides, a JSON list
    condition     everything that was trained, JSON as in the store
    align_steps   number of steps of the alignment
    before, after metrics reported at its first and at its last step, JSON
    same_numbers  whether it gave the numbers that it had in training: true or false
"""

from __future__ import annotations

import difflib
import json
import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from analysis import parquet_files
from analysis.contract import SPEC
from study.errors import SpecError
from study.plan import table
from study.run.locations import existing_store
from trainers.conditions.encoding import to_json
from trainers.data import atomic
from trainers.store import checkpoint
from trainers.store.store import CorruptError
from trainers.training.aligned import Aligned, aligned

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Written:
    """A file of weights that was written: its path, and the network with the labels of its row."""

    path: Path
    found: Aligned
    labels: dict[str, Any]


def export(
    study: str,
    replicate_id: str,
    store: str | os.PathLike[str],
    to: str | os.PathLike[str],
) -> Written:
    """Write the weights of a study's replicate at the end of its alignment to a new file.

    Raises SpecError or UserError where there is no such study or replicate, where no alignment
    comes before its training, or `to` exists, has another suffix or cannot be written.
    """
    path = Path(to)
    if path.suffix != SUFFIX:
        raise SpecError(f"--to: {to}: weights are written to a file that ends in {SUFFIX}")
    if path.exists():
        raise SpecError(f"--to: {to} exists; give another name, or remove it first")
    place = existing_store(store)
    plan = table.read(study, place)
    if plan is None:
        raise parquet_files.unknown_study(study, place.uri)
    labels = {each.id: each.labels for each in plan.replicates}
    if replicate_id not in labels:
        nearest = difflib.get_close_matches(replicate_id, labels, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise SpecError(
            f"study {study!r} has no replicate {replicate_id!r}{hint} (its table replicates has "
            f"the ids of all {len(labels)})"
        )
    try:
        spec = (place.root / "studies" / study).read(SPEC).decode()
    except FileNotFoundError as error:
        raise SpecError(f"study {study!r}: there is no {SPEC} of it in {place.uri}") from error
    try:
        found = aligned(place, replicate_id)
    except CorruptError as error:
        raise SpecError(f"{error}; archprior run SPEC trains it anew") from error
    facts = {"study": study, "spec": spec, "replicate_id": replicate_id}
    facts |= {name: labels[replicate_id][name] for name in ("task", "target")}
    content = {"format": "pt"} | {
        f"archprior.{name}": value for name, value in (facts | _facts(found)).items()
    }
    try:
        with atomic.replaced(path.absolute(), durable=True) as partial:
            checkpoint.save_weights(found.network, partial, content)
    except OSError as error:
        raise SpecError(f"--to: {to} cannot be written: {error.strerror or error}") from error
    return Written(path, found, labels[replicate_id])


def _facts(found: Aligned) -> dict[str, str]:
    return {
        "version": metadata.version("archprior"),
        "guide_ids": json.dumps(found.guide_ids),
        "seed": str(found.seed),
        "condition": json.dumps(to_json(found.condition)),
        "align_steps": str(found.steps),
        "before": json.dumps(dict(found.before)),
        "after": json.dumps(dict(found.after)),
        "same_numbers": json.dumps(found.same_numbers),
    }
