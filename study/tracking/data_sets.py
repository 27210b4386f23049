"""Data sets of runs, as MLflow knows them: name, digest, shapes, and the code that makes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.types.schema import Schema, TensorSpec

from study.plan.replicates import Replicate
from trainers import tasks
from trainers.registry import Component

_CONTEXT = "mlflow.data.context"
_LONGEST_NAME = 500
#: MLflow's word for data that code generates or reads, and that has no address of its own.
_SOURCE = "code"


def data_sets(data: Mapping[str, Replicate]) -> list[DatasetInput]:
    """Data sets of replicates, by the fingerprint of their data."""
    return [data_set(replicate, fingerprint) for fingerprint, replicate in data.items()]


def data_set(replicate: Replicate, fingerprint: str) -> DatasetInput:
    """The data of a replicate's task; its digest is the `fingerprint` over all its splits.

    What its result says was used, which may be another than the code makes today.
    """
    task = replicate.condition.task
    schema, profile = _described(task)
    found = Dataset(
        name=str(replicate.labels["task"])[:_LONGEST_NAME],
        digest=fingerprint,
        source_type=_SOURCE,
        source=json.dumps({"task": task.name, "options": task.kwargs}, default=str),
        schema=schema,
        profile=profile,
    )
    return DatasetInput(found, [InputTag(_CONTEXT, "training")])


@cache
def _described(component: Component) -> tuple[str, str]:
    """Schema and profile of a task, without its data."""
    task = tasks.build(component)
    kind = np.dtype("int64" if task.input.kind == "tokens" else "float32")
    labels = (-1, *task.input.shape[:1]) if task.output.per_position else (-1,)
    named = TensorSpec(np.dtype("int64"), labels)
    if task.output.num_classes is None:
        named = TensorSpec(np.dtype("float32"), (-1, task.output.num_outputs))
    features = Schema([TensorSpec(kind, (-1, *task.input.shape))])
    targets = Schema([named])
    schema = {"mlflow_tensorspec": {"features": features.to_json(), "targets": targets.to_json()}}
    output = {"num_classes": task.output.num_classes, "num_values": task.output.num_values}
    profile: dict[str, Any] = {name: size for name, size in output.items() if size is not None}
    if task.num_train is not None:
        profile = {"num_train": task.num_train} | profile
    return json.dumps(schema), json.dumps(profile)
