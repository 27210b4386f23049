"""Studies of any size without training: outcomes are drawn, tables are made by the package."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml

from analysis import parquet_files
from analysis.cells import TaskMetrics
from analysis.pairs import pair_table
from analysis.priors import prior_table
from analysis.schema import frame_of, schema
from analysis.trainability import trainability_table
from analysis.transfer import transfer_table

TASKS = {
    "digits": TaskMetrics(
        primary_metric="accuracy",
        higher_is_better={"accuracy": True, "loss": False},
        chance={"accuracy": 0.1},
    )
}
#: Outcome of a replicate by its row of the plan: accuracy, or why it did not finish.
Outcome = Callable[[Mapping[str, Any], np.random.Generator], float | str]
_GAINS = {"none": 0.04, "shuffled": -0.01, "input": 0.02, "labels": 0.03}


def usual(row: Mapping[str, Any], generator: np.random.Generator) -> float | str:
    """Guides know most, guidance lifts targets a little, its controls less."""
    if row["role"] == "guide":
        return float(0.9 + generator.normal(0, 0.01))
    gain = _GAINS.get(row["control"], 0.0) if row["role"] != "baseline" else 0.0
    name = f"{row['target']}{row['guide']}"
    gain *= 1 + (sum(name.encode()) % 7 - 3) / 2
    return float(np.clip(0.7 + gain + generator.normal(0, 0.01), 0, 1))


@dataclass(frozen=True, kw_only=True)
class MadeStudy:
    """A study of one task, a full grid of targets, guides, states, controls and schedules."""

    name: str = "made"
    targets: Sequence[str] = ("fcn(depth=4)", "fcn(depth=10,norm=batch)")
    guides: Sequence[str] = ("resnet2d", "vit")
    states: Sequence[str] = ("trained", "untrained")
    controls: Sequence[str] = ("shuffled", "input", "labels")
    alphas: Sequence[float] = (1.0,)
    seeds: int = 5
    reports: int = 12
    outcome: Outcome = usual
    question: str = "What does guidance hand over?"
    spec: Mapping[str, Any] = field(default_factory=dict)

    def plan(self) -> Iterator[dict[str, Any]]:
        """Rows of the table `replicates`, without outcomes."""
        for name, seed in itertools.product(self.guides, range(self.seeds)):
            yield self._row("guide", seed, target=name)
        for name, seed in itertools.product(self.targets, range(self.seeds)):
            yield self._row("baseline", seed, target=name)
        cells = itertools.product(self.targets, self.guides, self.states, self.alphas)
        for target, guide, state, alpha in cells:
            for control in ("none", *self.controls):
                if control == "labels" and state != "trained":
                    continue
                for seed in range(self.seeds):
                    yield self._guided(target, guide, state, control, alpha, seed)

    def _row(self, role: str, seed: int, **columns: Any) -> dict[str, Any]:
        row = {"study": self.name, "task": "digits", "role": role, "seed": seed}
        row |= {"guide": None, "state": None, "control": None, **columns}
        parts = [role, *(str(value) for value in columns.values()), str(seed)]
        return row | {"replicate_id": "/".join(parts)}

    def _guided(
        self, target: str, guide: str, state: str, control: str, alpha: float, seed: int
    ) -> dict[str, Any]:
        row = self._row(
            "guided" if control == "none" else "control", seed,
            target=target, guide=guide, state=state, control=control, alpha=alpha,
        )  # fmt: skip
        return row | {
            "distance": "linear_cka", "mapping": "evenly_spaced", "schedule": f"alpha={alpha:g}",
            "num_pairs": 3, "baseline_id": f"baseline/{target}/{seed}",
            "guide_id": f"guide/{guide}/{seed}",
        }  # fmt: skip

    def write(self, store: Path) -> Path:
        """Write the study's tables and spec into a store; returns its folder."""
        generator = np.random.default_rng(0)
        rows = [row | self._ended(row, generator) for row in self.plan()]
        replicates = frame_of(rows, schema("replicates", ["accuracy", "loss"]))
        history = self._history(replicates, generator)
        tables = {
            "replicates": replicates,
            "history": history,
            "alignment": self._alignment(replicates, generator),
            "transfer": transfer_table(replicates, history.iloc[:0], TASKS),
            "priors": prior_table(replicates, TASKS),
            "pairs": pair_table(replicates, TASKS),
            "trainability": trainability_table(replicates, history, TASKS),
        }
        metadata: dict[str, Any] = {
            "study": self.name,
            "created": "2030-01-01T00:00:00+00:00",
            "provenance": {"git_commit": "abc123", "archprior_version": "0.1.0"},
        }
        for table, frame in tables.items():
            data = parquet_files.encode(frame, table, metadata)
            parquet_files.write(store, parquet_files.table_path(self.name, table), data)
        folder = store / "studies" / self.name
        spec = {"name": self.name, "task": "digits", **self.spec}
        text = f"# {self.question}\n{yaml.safe_dump(spec, sort_keys=False)}"
        (folder / "spec.yaml").write_text(text, encoding="utf-8")
        return folder

    def _ended(self, row: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        outcome = self.outcome(row, generator)
        if isinstance(outcome, str):
            status, _, error = outcome.partition(": ")
            return {"status": status, "error": error or None}
        return {
            "status": "finished", "test_accuracy": outcome, "test_loss": 1 - outcome,
            "train_seconds": 2.5, "steps": 100, "torch_version": "2.13.0", "device": "cpu",
        }  # fmt: skip

    def _history(self, replicates: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
        """Validation accuracy, and loss, at each report of the finished replicates."""
        finished = replicates[replicates["status"] == "finished"]
        steps = np.arange(1, self.reports + 1) * 10
        rise = 1 - np.exp(-3 * np.arange(1, self.reports + 1) / self.reports)
        final = finished["test_accuracy"].to_numpy(dtype=float)
        accuracy = final[:, None] * rise + generator.normal(0, 0.01, (len(final), self.reports))
        parts = {"validation/accuracy": accuracy, "train/loss": 2 - accuracy}
        ids = np.repeat(finished["replicate_id"].to_numpy(dtype=object), self.reports)
        frames = [
            pd.DataFrame(
                {
                    "replicate_id": ids, "step": np.tile(steps, len(final)),
                    "timestamp": pd.Timestamp("2030-01-01", tz="UTC"), "metric": metric,
                    "value": values.ravel(),
                }
            )
            for metric, values in parts.items()
        ]  # fmt: skip
        return _conforming(pd.concat(frames, ignore_index=True), "history")

    def _alignment(self, replicates: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
        """Similarities of 3 x 3 taps of each finished guided replicate and its baseline."""
        guided = replicates[(replicates["role"] == "guided") & (replicates["status"] == "finished")]
        rows: list[dict[str, object]] = []
        for row in guided.to_dict("records"):
            guide_moment = "final" if row["state"] == "trained" else "initial"
            for own, moment in itertools.product((True, False), ("initial", "final")):
                high = 0.8 if own and moment == "final" else 0.4
                rows += [
                    {
                        "replicate_id": row["replicate_id" if own else "baseline_id"],
                        "guide_id": row["guide_id"], "guide_moment": guide_moment,
                        "moment": moment, "guide_tap": f"block{i}", "target_tap": f"layer{j}",
                        "measure": "linear_cka(unbiased=true)", "rows": "examples", "n": 400,
                        "similarity": high - 0.15 * abs(i - j) + generator.normal(0, 0.02),
                        "target_collapsed": False, "guide_collapsed": False,
                    }
                    for i, j in itertools.product(range(3), range(3))
                ]  # fmt: skip
        return frame_of(rows, schema("alignment")).drop_duplicates(
            ["replicate_id", "guide_id", "guide_moment", "moment", "guide_tap", "target_tap"],
            ignore_index=True,
        )


def _conforming(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    """A frame with the columns of a table's schema, in their order."""
    columns = pa.schema(schema(table)).names
    return frame.reindex(columns=columns)
