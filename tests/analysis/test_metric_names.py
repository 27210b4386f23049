"""Names of metrics in MLflow: it takes them all, and they can be read again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH

from analysis.metric_names import LONGEST, escaped, unescaped

NAMES = st.one_of(
    st.text(alphabet="ab./:@ ä\n4", max_size=12), st.text(max_size=60), st.text(min_size=260)
)


#: Names that are alike.
PAIRS = [
    ("a//b", "a/b"), ("../x", "x"), ("a/", "a"), ("a:40", "a@"), ("", ":"), ("x" * 300, "x" * 299)
]  # fmt: skip


@pytest.fixture(scope="module")
def log(tracked: Any) -> Callable[[list[str]], None]:
    """Logs metrics by name into a run of a real MLflow."""
    client = MlflowClient(tracked.uri)
    run = client.create_run(client.create_experiment("names")).info.run_id
    return lambda names: client.log_batch(run, [Metric(name, 0.5, 0, 0) for name in names])


@settings(max_examples=15, deadline=None)
@given(st.lists(NAMES, max_size=10))
@example([name for pair in PAIRS for name in pair])
def test_mlflow_takes_every_name(log: Callable[[list[str]], None], names: list[str]) -> None:
    log([escaped(name) for name in names])


@given(NAMES, NAMES)
def test_none_is_another(name: str, other: str) -> None:
    found = escaped(name)
    assert len(found) <= MAX_ENTITY_KEY_LENGTH == LONGEST
    if ":." not in found:
        assert unescaped(found) == name
    assert (found == escaped(other)) == (name == other)


@pytest.mark.parametrize("name", ["train/loss", "distance/layers.0/b-1", "test/top 5", "a.b_c/D"])
def test_plain_names_stay(name: str) -> None:
    assert escaped(name) == unescaped(name) == name


def test_others_can_still_be_read() -> None:
    assert escaped("test/acc@5") == "test/acc:405"
    assert escaped("test/größe[%]") == "test/gr:c3:b6:c3:9fe:5b:25:5d"
    assert escaped("a//../b") == "a/:2f:2e:2e/b"
