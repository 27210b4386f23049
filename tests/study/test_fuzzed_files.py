"""Files of any content are read or refused, by one clear error: nothing else, and in small memory.

`make test` tries a few thousand, the same each time; `make test-long` a hundred thousand others.
"""

from __future__ import annotations

import json
import math
import resource
import shutil
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.entities import Metric, Run, RunData, RunInfo, RunTag

import analysis
from analysis import from_mlflow, from_store
from analysis.contract import Status
from analysis.errors import UserError as AnalysisError
from study import Study
from study.bundle import reading, writing
from study.errors import SpecError
from study.plan import table
from study.plan.states import States
from study.run import expected, frozen, studies
from study.run.frozen import Frozen
from tests.helpers.mutations import STRANGE, Content, rebuilt, reshaped, spliced
from trainers.data import mapped_arrays
from trainers.errors import UserError
from trainers.store import checkpoint, pointer
from trainers.store.checkpoint import Checkpoint
from trainers.store.folder import Folder, written_at
from trainers.store.lease import LEASE, holder
from trainers.store.records import StartsRecord
from trainers.store.store import CorruptError, CrashedError, StalledError, Store
from trainers.store.tables import History

pytestmark = pytest.mark.processes

NUM_INPUTS, NUM_MANY = 2_000, 100_000
#: What all readers together may add to the memory of the process.
MAX_BYTES = 600 * 2**20
_STUDY = "studies/small"
_NEW = "0" * 16


@dataclass(frozen=True)
class Reader:
    """A reader of the file at `path` in a store: `read` gets the store.

    It raises one of `errors`, with `names` in the message. `inputs` are strategies of contents.
    """

    path: str
    read: Callable[[Path], object]
    inputs: tuple[Callable[[bytes], st.SearchStrategy[Content]], ...]
    errors: tuple[type[Exception], ...] = (AnalysisError,)
    names: str = ""


def replicate_path(store: Path) -> Path:
    """The folder of a finished guided replicate."""
    return next(path.parent for path in sorted(store.glob("replicates/*/alignment.parquet")))


def collect(store: Path) -> object:
    found = from_store.collect("small", store)
    return found and (found.history, found.predictions, found.alignment)


def plan_of(store: Path) -> object:
    plan = table.read("small", Store(store))
    return plan and States(plan, Store(store)).counts()


def listed(store: Path) -> object:
    return studies.entries(Store(store).root)


def count_starts(store: Path) -> object:
    replicate = Store(store).replicate(_NEW)
    replicate.count_fault("one", "a fault")
    # A file that counts many faults or starts is a good one.
    with suppress(CrashedError, StalledError):
        replicate.count_start("one", 3)
    return replicate.is_begun("one")


def resume(store: Path) -> object:
    replicate = Store(store).replicate(_NEW)
    pointer.saved_step(replicate)
    return checkpoint.load(replicate, History(_NEW))


def resume_vouched(store: Path) -> object:
    """As `resume`, where who changed the state has written its digest, too."""
    folder = store / "replicates" / _NEW / "checkpoint"
    pointer = json.loads((folder / "latest.json").read_bytes())
    pointer["written"] = written_at(folder / "3.pt")
    (folder / "latest.json").write_text(json.dumps(pointer))
    return resume(store)


def final_vouched(store: Path) -> object:
    path = replicate_path(store)
    record = json.loads((path / "result.json").read_bytes())
    record["files"]["checkpoint/weights.safetensors"] = written_at(
        path / "checkpoint" / "weights.safetensors"
    )
    (path / "result.json").write_text(json.dumps(record))
    return checkpoint.load_final(Store(store).replicate(path.name))


def unpacked(store: Path) -> object:
    path = store / "bundle.zip"
    with reading.opened(path, 2**30) as bundle:
        for name in bundle.manifest.files:
            (store / "unpacked").write_bytes(bundle.read(name))
            reading.check_content(bundle, name, store / "unpacked")
        return bundle.num_bytes


def result_of(store: Path) -> object:
    replicate = Store(store).replicate(replicate_path(store).name)
    return replicate.result(), replicate.provenance()


BYTES, JSON, TABLE = (spliced,), (spliced, reshaped), (spliced, rebuilt)
READERS: dict[str, Reader] = {
    "spec": Reader(f"{_STUDY}/spec.yaml", lambda s: Study.load(s / _STUDY / "spec.yaml"), JSON,
                   (SpecError,), "spec.yaml"),
    "plan": Reader(f"{_STUDY}/plan.parquet", plan_of, TABLE, names="plan"),
    "plan, by analysis": Reader(f"{_STUDY}/plan.parquet", collect, TABLE, names="plan"),
    "studies": Reader(f"{_STUDY}/plan.parquet", listed, TABLE),
    "result": Reader("RESULT", result_of, JSON, (CorruptError,), "result.json"),
    "result, by analysis": Reader("RESULT", collect, JSON, names="result.json"),
    "failure, by analysis": Reader("FAILED/failure.json", collect, JSON, names="failure.json"),
    "failure": Reader("FAILED/failure.json",
                      lambda s: [Store(s).replicate(each).failure() for each in Store(s).known()],
                      JSON, (CorruptError,), "failure.json"),
    "starts": Reader(f"replicates/{_NEW}/starts.json", count_starts, JSON,
                     (CorruptError,), "starts.json"),
    "condition": Reader(f"replicates/{_NEW}/condition.json",
                        lambda s: Store(s).replicate(_NEW).condition(), JSON,
                        (CorruptError, UserError), ""),
    "lease": Reader(f"replicates/{_NEW}/{LEASE}",
                    lambda s: str(holder(Folder(s / "replicates" / _NEW))), JSON, ()),
    "pointer": Reader(f"replicates/{_NEW}/checkpoint/latest.json", resume, JSON,
                      (CorruptError,), "damaged"),
    "checkpoint": Reader(f"replicates/{_NEW}/checkpoint/3.pt", resume_vouched, BYTES,
                         (CorruptError,), "3.pt"),
    "weights": Reader("WEIGHTS", final_vouched, BYTES, (CorruptError,), "weights.safetensors"),
    "history": Reader("HISTORY", lambda s: Store(s).replicate(replicate_path(s).name).history(),
                      TABLE, (CorruptError,), "history.parquet"),
    "history, by analysis": Reader("HISTORY", collect, TABLE, names="history.parquet"),
    "cache": Reader("cache/manifest.json", lambda s: mapped_arrays.load(s / "cache"), JSON,
                    (ValueError, OSError), "cache"),
    "cached array": Reader("cache/a.npy", lambda s: mapped_arrays.load(s / "cache"), BYTES,
                           (ValueError, OSError), "cache"),
    "table": Reader(f"{_STUDY}/transfer.parquet",
                    lambda s: analysis.load("small", "transfer", store=s), TABLE,
                    names="transfer.parquet"),
    "runs of MLflow": Reader(f"{_STUDY}/mlflow_runs.json", collect, JSON),
    "expected times": Reader(f"{_STUDY}/expected_seconds.json",
                             lambda s: expected.remember(Folder(s / _STUDY), {"a": 1.0}), JSON),
    "confirmation": Reader(f"{_STUDY}/confirm.json", lambda s: frozen.read(Folder(s / _STUDY)),
                           JSON, (SpecError,), "confirm.json"),
    "bundle": Reader("bundle.zip", unpacked, BYTES, (SpecError,), "bundle.zip"),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(analyzed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a file of each kind."""
    folder = tmp_path_factory.mktemp("fuzzed")
    store = Path(shutil.copytree(analyzed, folder / "store"))
    writing.export("small", analyzed, store / "bundle.zip", license="CC-BY-4.0")
    replicate, history = Store(store).replicate(_NEW), History(_NEW)
    state = {"a": torch.zeros(3)}
    checkpoint.save(
        replicate,
        Checkpoint(step=3, train_seconds=1.0, weights=state, learned={}, optimizer={}, window={}),
        history,
    )
    replicate.folder.write("starts.json", StartsRecord(run="one", step=3, count=1).encode())
    condition = replicate_path(store) / "condition.json"
    replicate.folder.write("condition.json", condition.read_bytes())
    lease = {"owner": "o", "host": "h", "pid": 1, "since": 0.0, "expires": 1e12}
    replicate.folder.write(LEASE, json.dumps(lease).encode())
    with mapped_arrays.written(store / "cache", {"of": "a"}) as writer:
        writer.new("a", (2, 3), np.float32)[:] = 1
    spec = Study.load(store / _STUDY / "spec.yaml").raw
    (store / _STUDY / "spec.yaml").write_text(json.dumps(spec))
    ids = {path.name: "run" for path in (store / "replicates").iterdir()}
    (store / _STUDY / "mlflow_runs.json").write_text(json.dumps(ids))
    (store / _STUDY / "expected_seconds.json").write_text(json.dumps(dict.fromkeys(ids, 1.5)))
    rules: dict[str, Any] = {"expect": ["baseline >= 0"]}
    frozen.write(Folder(store / _STUDY), Frozen(
        attempt=1, confirmation="small-confirm", time="2026-01-01T00:00:00+00:00", seeds=[3, 4, 5],
        statements=rules, statements_digest=frozen.digest(rules), conditions_digest="c",
        exploratory=[{"value": 1.0}], exploratory_digest=frozen.digest([{"value": 1.0}]),
    ))  # fmt: skip
    return store


def path_of(reader: Reader, store: Path) -> Path:
    finished, failed = replicate_path(store), next(store.glob("replicates/*/failure.json"))
    named = {
        "RESULT": finished / "result.json", "HISTORY": finished / "history.parquet",
        "WEIGHTS": finished / "checkpoint" / "weights.safetensors", "FAILED/failure.json": failed,
    }  # fmt: skip
    return named.get(reader.path, store / reader.path)


def fuzz(reader: Reader, store: Path, num_inputs: int, *, anew: bool) -> None:
    """Read files of `num_inputs` contents; raises what `reader` may not."""
    path = path_of(reader, store)
    original = path.read_bytes()
    kept = path.parent / "result.json"
    beside = kept.read_bytes() if kept.exists() else None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def check(content: Content) -> None:
        path.write_bytes(content())
        refused = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reader.read(store)
        except reader.errors as error:
            refused = str(error)
        assert refused is None or (reader.names in refused and "Traceback" not in refused)

    try:
        reader.read(store)
        for content in STRANGE:
            check(partial(bytes, content))
        each = settings(
            max_examples=num_inputs, deadline=None, database=None, derandomize=not anew,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        each(given(st.one_of(*(make(original) for make in reader.inputs)))(check))()
    finally:
        path.write_bytes(original)
        if beside is not None and kept != path:
            kept.write_bytes(beside)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    assert grown < MAX_BYTES, grown


@pytest.mark.parametrize("name", READERS)
def test_a_file_of_any_content_is_read_or_refused(name: str, whole: Path) -> None:
    fuzz(READERS[name], whole, NUM_INPUTS // len(READERS) + 1, anew=False)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    tags=st.dictionaries(st.sampled_from([f"archprior.{name}" for name in (
        "kind", "status", "replicate_id", "error", "torch_version", "device", "data_fingerprint"
    )]), st.one_of(st.sampled_from(["finished", "failed", "replicate"]), st.text(max_size=9))),
    metrics=st.dictionaries(
        st.sampled_from(["steps", "train_seconds", "test/accuracy", "validation/accuracy", "x"]),
        st.floats(),
    ),
)  # fmt: skip
def test_a_run_of_mlflow_of_any_content_is_an_outcome(
    tags: dict[str, str], metrics: dict[str, float]
) -> None:
    data = RunData(
        metrics=[Metric(name, value, 0, 0) for name, value in metrics.items()],
        params=[], tags=[RunTag(*each) for each in tags.items()],
    )  # fmt: skip
    info = RunInfo("id", "0", "user", "FINISHED", 0, 1, "active")
    outcome = from_mlflow.outcome_of(Run(info, data), ["accuracy"])
    assert outcome.status in tuple(Status)
    assert all(math.isfinite(value) for value in (outcome.scores or {}).values())
    assert isinstance(outcome.steps, int | None)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", READERS)
def test_many_more(name: str, whole: Path) -> None:
    fuzz(READERS[name], whole, NUM_MANY // len(READERS) + 1, anew=True)
