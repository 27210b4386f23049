"""Writes the weights of a replicate after its alignment as a file, for other studies to start from.

Its metadata, beside `format: pt` of safetensors, are texts under these names:

    archprior.version      the version that wrote it
    archprior.study        name of the study, and under `spec` its spec in YAML
    archprior.spec
    archprior.replicate_id the replicate; `guide_ids` are those of the networks that ran as guides,
    archprior.guide_ids    a JSON list
    archprior.seed
    archprior.task         label of the task, `target` that of the network
    archprior.target
    archprior.condition    everything that was trained, as JSON (`condition.json` of the store)
    archprior.align_steps  steps of alignment
    archprior.before       metrics of the first step and of the last of them, as JSON
    archprior.after
    archprior.same_numbers whether the alignment gave the numbers that training had: true or false
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from analysis.contract import PLAN, SPEC
from analysis.errors import unknown
from study.errors import SpecError
from study.plan import table
from study.run.locations import find_store
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
    place = find_store(store)
    plan = table.read(study, place)
    if plan is None:
        raise SpecError(f"study {study!r}: there is no {PLAN} of it in {place.uri}")
    labels = {each.id: each.labels for each in plan.replicates}
    if replicate_id not in labels:
        raise unknown(f"replicate of study {study!r}:", replicate_id, labels)
    try:
        found = aligned(place, replicate_id)
    except CorruptError as error:
        raise SpecError(f"{error}; archprior run SPEC trains it anew") from error
    spec = (place.root / "studies" / study).read(SPEC).decode()
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
