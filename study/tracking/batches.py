"""Points, parameters and tags of a run in as few calls as MLflow takes."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from analysis.metric_names import escaped
from trainers.store.tables import Point

#: MLflow takes 100 parameters, 100 tags and 1,000 entries of all kinds in one call.
METRICS_PER_CALL = 800
_MOST_PARAMS = 100


def log(
    client: MlflowClient,
    run_id: str,
    points: Sequence[Point] = (),
    params: Sequence[Param] = (),
    tags: Sequence[RunTag] = (),
    *,
    per_call: int = METRICS_PER_CALL,
) -> None:
    """Log points in their order, with parameters in the first call and tags in the last.

    Points without a value are not sent. There is no call for nothing.
    """
    parts: list[Sequence[Point]] = [
        points[at : at + per_call] for at in range(0, len(points), per_call)
    ]
    if not parts and (params or tags):
        parts = [()]
    for number, part in enumerate(parts):
        client.log_batch(
            run_id,
            metrics=_metrics(part),
            params=list(params[:_MOST_PARAMS]) if number == 0 else [],
            tags=list(tags) if number == len(parts) - 1 else [],
        )


def _metrics(points: Sequence[Point]) -> list[Metric]:
    return [
        Metric(escaped(p.metric), float(p.value), p.timestamp, p.step)
        for p in points
        if p.value is not None
    ]
