"""A study of a task of values beside one of classes, from the spec to tables and report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis
from analysis.report import StudyTables, render
from analysis.sentences.guided_rows import sentence
from study import Study
from study.spec.read import SpecError

pytestmark = pytest.mark.processes

SPEC: dict[str, Any] = {
    "name": "values",
    "task": ["diabetes", {"name": "digits", "train_size": 200}],
    "targets": [{"name": "fcn", "depth": 2, "width": 16}],
    "guides": [{"name": "fcn", "depth": 1, "width": 24}],
    "states": ["trained"],
    "controls": ["standard"],
    "seeds": 3,
    "train": {"steps": 60, "batch_size": 40, "report_every": 30, "optimizer": "adam", "lr": 0.003},
    "expect": [
        {"rule": "guide {task: diabetes} >= 0.1"},
        {"rule": "trained {task: diabetes} <= 1", "metric": "mse"},
        {"rule": "trained {task: diabetes} >= 0", "metric": "consistency.kappa"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("values") / "store"
    assert Study(**SPEC).run(store=store, local=True).complete
    return store


def table(store: Path, name: str, **where: str) -> pd.DataFrame:
    found = analysis.load("values", name, store=store)
    for column, value in where.items():
        found = found[found[column] == value]
    return found


def test_effects_are_on_r2_and_on_the_error(store: Path) -> None:
    rows = table(store, "transfer", task="diabetes", control="none")
    assert dict(zip(rows["metric"], rows["primary"], strict=True)) == {"r2": True, "mse": False}
    r2, mse = (rows.set_index("metric").loc[name] for name in ("r2", "mse"))
    assert r2["higher_is_better"]
    assert not mse["higher_is_better"]
    assert (r2["chance"], r2["guide_alone"] > 0.1) == (0, True)
    assert pd.isna(mse["chance"])
    assert r2["difference"] * mse["difference"] > 0
    assert pd.isna(r2["two_way_low"])
    controls = table(store, "transfer", task="diabetes", metric="r2")["control"]
    assert set(controls) == {"none", "shuffled", "input", "labels"}


def test_scores_follow_from_the_predictions(store: Path) -> None:
    predictions = table(store, "predictions")
    replicates = table(store, "replicates").set_index("replicate_id")
    for name, rows in predictions.groupby("replicate_id"):
        if replicates.loc[name, "task"] != "diabetes":
            assert rows[["label_value", "prediction_value"]].isna().all(axis=None)
            assert rows["label"].eq(rows["prediction"]).mean() == pytest.approx(
                replicates.loc[name, "test_accuracy"]
            )
            continue
        assert rows[["label", "prediction"]].isna().all(axis=None)
        error = (rows["label_value"] - rows["prediction_value"]).pow(2).mean()
        assert error == pytest.approx(replicates.loc[name, "test_mse"], rel=1e-6)
        spread = rows["label_value"].var(ddof=0)
        assert 1 - error / spread == pytest.approx(replicates.loc[name, "test_r2"], rel=1e-6)


def test_values_are_neither_right_nor_wrong(store: Path) -> None:
    assert set(table(store, "consistency")["task"]) == {"digits(train_size=200)"}
    assert table(store, "transfer", metric="accuracy")["two_way_low"].notna().any()
    rules = table(store, "expectations")
    assert rules["value"].isna().tolist() == [False, False, True]


def test_words_and_units_are_those_of_the_metric(store: Path) -> None:
    for row in table(store, "transfer", control="none").to_dict("records"):
        said = sentence(row)
        assert ("point" in said) == (row["metric"] == "accuracy"), said
        assert row["metric"] in said or row["metric"] == "accuracy", said
    page = render(StudyTables("values", store))
    assert "condition minus baseline, r2 (positive is better)" in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"controls": ["class_shuffled"]}, "class_shuffled has no meaning on task 'diabetes': it"),
        ({"distances": ["distillation"]}, "distillation needs a task of classes, and the answers"),
        ({"rivals": ["label_smoothing"]}, "label_smoothing takes tasks whose loss is the mean"),
        (
            {"expect": ["trained - baseline >= 3 points"]},
            r"expect\[0\]: points are hundredths of an accuracy, and the metric is r2; give",
        ),
        (
            {"expect": [{"rule": "trained >= 0", "metric": "consistency.kappa"}]},
            r"expect\[0\].metric: consistency.kappa is of right and wrong answers, and no task",
        ),
    ],
)
def test_what_needs_classes_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Study(**SPEC | {"task": "diabetes", "expect": []} | changes).plan()
