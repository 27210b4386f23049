"""Finished studies of any size, written as trials write them; only their numbers are drawn."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import yaml

from analysis.contract import PLAN, SPEC
from study import Study
from study.plan import table
from study.plan.progress import Progress
from study.plan.replicates import Replicate
from study.run import comparisons
from study.search.in_store import StoreResults
from trainers.comparison import GuideTapTable
from trainers.comparison.alignment import AlignmentTable
from trainers.store.folder import Written
from trainers.store.records import ResultRecord
from trainers.store.store import WEIGHTS, Store
from trainers.store.tables import ALIGNMENT, History, predictions_table, rows_table

#: Test examples of a replicate, and taps on either side.
EXAMPLES, TAPS = 400, 3
#: Begin of the first training in seconds since 1970, and how long each takes.
_BEGAN, _SECONDS = 1_900_000_000.0, 2.5


def grid(name: str, targets: int, guides: int, seeds: int) -> dict[str, Any]:
    """The spec of a study of each target with each guide in four conditions."""
    return {
        "name": name, "task": "translated_digits",
        "targets": [{"name": "fcn", "depth": 3, "width": 8 + k} for k in range(targets)],
        "guides": [{"name": "resnet2d", "width": 4 + k} for k in range(guides)],
        "states": ["trained", "untrained"], "controls": ["shuffled"],
        "seeds": seeds, "train": {"steps": 100, "report_every": 1},
    }  # fmt: skip


def write(content: dict[str, Any], store: Store, reports: int, *, withheld: int = 0) -> Progress:
    """Write a study, its replicates but the last `withheld`, and their comparisons.

    Where settings are searched it is planned anew whenever all candidates so far have ended.
    """
    study, results = Study(**content), StoreResults(store)
    folder = store.root / "studies" / study.name
    folder.write(SPEC, yaml.safe_dump(content, sort_keys=False).encode())
    ended: set[str] = set()
    while True:
        plan = study.plan(results=results.look())
        folder.write(PLAN, table.encode(plan, {"git_commit": "0" * 40}))
        new = {each.id: each for each in plan.replicates if each.id not in ended}
        for replicate in list(new.values())[: len(new) - (0 if plan.later else withheld)]:
            finish(replicate, store, reports, len(ended))
            ended.add(replicate.id)
        if not plan.later:
            break
    progress = Progress(plan, store)
    compare(progress)
    return progress


def finish_rest(progress: Progress, reports: int) -> None:
    """Write the replicates that were withheld, and their comparisons."""
    for number, replicate in enumerate(progress.todo):
        finish(replicate, progress.store, reports, len(progress.states) + number)
        progress.refresh(replicate.id)
    compare(progress)


def finish(replicate: Replicate, store: Store, reports: int, number: int) -> None:
    """Write a replicate, the `number`-th that ended, which says what is drawn."""
    generator = np.random.default_rng(number)
    stored, ended = store.replicate(replicate.id), _BEGAN + _SECONDS * (number + 1)
    stored.begin(replicate.condition, replicate.seed)
    stored.note_provenance({"git_commit": "0" * 40, "archprior_version": "0.1.0"})
    history, final = History(replicate.id), float(np.clip(generator.normal(0.7, 0.05), 0, 1))
    for report in range(reports):
        moment = int(1000 * (ended - _SECONDS * (1 - (report + 1) / reports)))
        accuracy = final * (1 - np.exp(-3 * (report + 1) / reports))
        values = {"train/loss": 2 - accuracy, "validation/accuracy": accuracy}
        if replicate.condition.terms:
            values |= {"train/task_loss": 1.5 - accuracy, "train/distance": 0.5 + accuracy / 9}
        history.add(report + 1, moment, values)
    files: dict[str, Written] = {"history.parquet": stored.save_history(history)}
    tables = {"predictions.parquet": _predictions(replicate.id, final, generator)}
    if replicate.condition.terms:
        tables["alignment.parquet"] = _alignment(replicate.id, generator)
    tables[WEIGHTS] = replicate.id.encode()
    files |= {name: stored.folder.write(name, content) for name, content in tables.items()}
    stored.finish(
        ResultRecord(
            metrics={"accuracy": final, "loss": 1 - final}, steps=reports, train_seconds=_SECONDS,
            torch_version=torch.__version__, device="cpu", host="made",
            data_fingerprint="made", ended=ended, train_cpu_seconds=_SECONDS, files=files,
        )
    )  # fmt: skip


def _predictions(identifier: str, accuracy: float, generator: np.random.Generator) -> bytes:
    labels = torch.arange(EXAMPLES) % 10
    wrong = torch.from_numpy(generator.random(EXAMPLES) >= accuracy)
    predictions = torch.where(wrong, (labels + 1) % 10, labels)
    return predictions_table(identifier, labels, predictions, torch.arange(EXAMPLES) // 4)


def _alignment(identifier: str, generator: np.random.Generator) -> bytes:
    rows = [
        row | {"moment": moment}
        for moment in ("initial", "final")
        for row in _similarities(identifier, generator)
    ]
    return rows_table(rows, ALIGNMENT)


def _similarities(identifier: str, generator: np.random.Generator) -> list[dict[str, Any]]:
    return [
        {
            "replicate_id": identifier, "guide_tap": f"block{i}", "target_tap": f"layer{j}",
            "measure": "linear_cka(unbiased=true)", "rows": "examples", "n": EXAMPLES,
            "similarity": float(generator.uniform(0.2, 0.8)),
            "target_collapsed": False, "guide_collapsed": False,
        }
        for i in range(TAPS)
        for j in range(TAPS)
    ]  # fmt: skip


def compare(progress: Progress) -> None:
    """Write the comparisons of networks that the store lacks, and their table."""
    generator = np.random.default_rng(len(progress.todo))
    for each in comparisons.wanted(progress):
        if isinstance(each, comparisons.Wanted):
            file = AlignmentTable.of(progress.store.uri, **asdict(each)).file
            rows = _similarities(each.target_id, generator)
            rows = [row | {"moment": each.moment} for row in rows]
        else:
            file = GuideTapTable.of(progress.store.uri, **asdict(each)).file
            rows = _guide_taps(each, generator)
        if file.read() is None:
            file.write(rows)
    folder = progress.store.root / "studies" / progress.plan.name
    for name, content in comparisons.run(progress, lambda new: [], print).items():
        folder.write(name, content)


def _guide_taps(
    guide: comparisons.WantedTaps, generator: np.random.Generator
) -> list[dict[str, Any]]:
    return [
        {
            "guide_id": guide.guide_id, "guide_moment": guide.guide_moment, "tap": f"block{i}",
            "rows": "examples", "n": EXAMPLES,
            "label_similarity": float(generator.uniform(0.2, 0.8)),
            "effective_rank": float(generator.uniform(2, 20)),
        }
        for i in range(TAPS)
    ]  # fmt: skip
