"""A view of MLflow's page of an experiment: its conditions alone, their curves with bands.

MLflow 3.17 lists it under "Views". It keeps views as tags of the experiment: JSON with a name, and
the state of the page, which is JSON again, deflated and in base64. Other versions ignore the tag.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from analysis.contract import TEST, VALIDATION
from analysis.metric_names import escaped

#: Tag of the experiment; what follows the last dot is the view's key in links.
KEY = "archprior-conditions"
TAG = f"mlflow.sharedViewState.{KEY}"
NAME = "Conditions"
#: Limits of the mean of a metric over seeds, in runs of conditions.
LOW, HIGH = "/low", "/high"
_FILTER = "tags.`archprior.kind` = 'condition'"
_PARAMS = ("target", "guide", "state", "control")


def tag_value(metrics: Mapping[str, bool], created: int) -> str:
    """The value of `TAG`, made at `created` in ms since 1970.

    `metrics` are the tasks' primary metrics by bare name, and whether higher is better.
    """
    content = json.dumps(_state(metrics))
    packed = base64.b64encode(zlib.compress(content.encode())).decode()
    view = {"name": NAME, "createdAt": created, "updatedAt": created, "state": f"deflate;{packed}"}
    return json.dumps(view)


def _state(metrics: Mapping[str, bool]) -> dict[str, Any]:
    results = [escaped(TEST + name) for name in metrics]
    columns = [f"params.`{name}`" for name in _PARAMS]
    columns += [f"metrics.`{name}{part}`" for name in results for part in ("", LOW, HIGH)]
    charts = [_bars(name) for name in results]
    charts += [_bands(escaped(VALIDATION + name)) for name in metrics]
    charts.append(_bands("train/loss"))
    sections = {"results": "Results of conditions", "curves": "Curves with 95% intervals"}
    return {
        "searchFilter": _FILTER,
        # Sorted by time, runs would be folded below that of their study.
        "orderByKey": f"metrics.`{results[0]}`",
        "orderByAsc": not next(iter(metrics.values())),
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [*columns, "metrics.`n`"],
        "columnOrder": [],
        "columnWidths": {},
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": list(charts),
        "compareRunSections": [_section(*each) for each in sections.items()],
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": False,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {
            "xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": "",
        },
    }  # fmt: skip


def _section(identifier: str, name: str) -> dict[str, Any]:
    return {
        "uuid": f"archprior-{identifier}", "name": name, "display": True, "isReordered": False,
        "deleted": False, "isGenerated": False,
    }  # fmt: skip


def _bars(metric: str) -> dict[str, Any]:
    return _chart("BAR", "results", metric, [metric])


def _bands(metric: str) -> dict[str, Any]:
    """Lines of a metric's mean and limits by step."""
    return _chart("LINE", "curves", metric, [metric, metric + LOW, metric + HIGH]) | {
        "lineSmoothness": 0, "xAxisScaleType": "linear", "scaleType": "linear", "range": {},
        "xAxisKey": "step", "selectedXAxisMetricKey": "", "yAxisKey": "metric",
        "yAxisExpressions": [], "useGlobalLineSmoothing": True, "useGlobalXaxisKey": True,
    }  # fmt: skip


def _chart(kind: str, section: str, metric: str, shown: Iterable[str]) -> dict[str, Any]:
    return {
        "uuid": f"archprior-{kind.lower()}-{metric}", "type": kind, "runsCountToCompare": 40,
        "metricSectionId": f"archprior-{section}", "deleted": False, "isGenerated": False,
        "displayName": metric, "metricKey": metric, "selectedMetricKeys": list(shown),
    }  # fmt: skip
