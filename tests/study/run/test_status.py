"""`archprior status` and `retry`: what happened to a study, and what to do about it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest

from analysis.errors import UserError
from study.plan import table
from study.run import status
from study.run.expected import remember
from study.study import Study
from trainers.store.lease import Lease
from trainers.store.store import Store

pytestmark = pytest.mark.processes


@pytest.fixture
def known(store_copy: Path, trained: Any) -> Path:
    """A store that knows the study `small`, as a driver leaves it: one guide failed."""
    folder = store_copy / "studies" / "small"
    folder.mkdir(parents=True)
    (folder / "spec.yaml").write_text(json.dumps(trained.spec))
    (folder / "plan.parquet").write_bytes(table.encode(trained.plan, {}))
    return store_copy


def lines(store: Path, capsys: pytest.CaptureFixture[str]) -> str:
    status.show("small", str(store), as_json=False)
    return capsys.readouterr().out


def content(store: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    status.show("small", str(store), as_json=True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_states_and_causes(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = lines(known, capsys)
    assert "study small: 12 replicates: 9 finished, 1 failed, 2 blocked; nobody runs it now" in out
    assert "failed: guide resnet2d(blocks=1,width=2) on translated_digits(places=1), seed 1" in out
    assert "out of luck" in out
    assert "blocks 2 replicates" in out
    assert f"archprior retry SPEC --store {known} trains failed" in out
    found = content(known, capsys)
    assert found["counts"] == {"finished": 9, "failed": 1, "blocked": 2}
    assert found["seconds_left"] == 0
    assert found["running"] == []
    assert len(found["failures"]) == 3


def test_what_is_running(known: Path, trained: Any, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(known)
    half, *others = [r for r in trained.plan.replicates if r.condition.role == "baseline"]
    assert others
    for replicate in (half, *others):
        store.replicate(replicate.id).discard()
    with Lease(store.replicate(half.id).folder), Lease(store.root / "studies" / "small"):
        out, found = lines(known, capsys), content(known, capsys)
    assert "1 running" in out
    assert f"{len(others)} to train" in out
    assert "run by process" in out
    assert (
        "running: fcn(depth=2,width=8) on translated_digits(places=1), seed 0: step 0 of 4" in out
    )
    # Nothing is finished yet: neither a rate nor what such a replicate takes is known.
    assert found["replicates_per_hour"] is found["seconds_left"] is None
    assert "rate" not in out
    assert "time left" not in out
    (running,) = found["running"]
    assert running["replicate_id"] == half.id
    with Lease(store.replicate(half.id).folder):
        assert "nobody" not in lines(known, capsys), "someone is at work, by archprior work"
    assert "nobody runs it now" in lines(known, capsys)


def test_steps_of_alignment_are_steps(
    known: Path, trained: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = trained.spec | {"schedule": {"align_first": {"steps": 7}}}
    plan = Study(**spec).plan()
    (known / "studies" / "small" / "plan.parquet").write_bytes(table.encode(plan, {}))
    guided = next(r for r in plan.replicates if r.condition.role == "guided")
    with Lease(Store(known).replicate(guided.id).folder):
        (running,) = content(known, capsys)["running"]
    assert running["num_steps"] == 7 + 4


def ends(store: Store, moments: Sequence[float], seconds: float) -> None:
    """Let the finished replicates of a store end at some moments, after so many of training."""
    done = sorted(path.parent.name for path in Path(store.uri).glob("replicates/*/result.json"))
    assert len(done) == len(moments)
    for identifier, ended in zip(done, moments, strict=True):
        folder = store.replicate(identifier).folder
        result = json.loads(folder.read("result.json"))
        changed = {"ended": ended, "train_seconds": seconds}
        folder.write("result.json", json.dumps(result | changed).encode())


def test_what_ended_before_the_present_run_does_not_count(
    known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, now = Store(known), time.time()
    # An earlier run, or other studies, trained these some minutes ago.
    ends(store, [now - 60 * index for index in range(1, 10)], 1.0)
    assert status.load("small", store).per_hour is None
    with Lease(store.root / "studies" / "small"):
        assert status.load("small", store).per_hour is None
    assert "rate" not in lines(known, capsys)


def test_the_rate_and_the_time_left_are_those_of_the_present_run(
    known: Path, trained: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(known)
    left = [r for r in trained.plan.replicates if r.condition.role == "baseline"]
    for replicate in left:
        store.replicate(replicate.id).discard()
    remember(store.root / "studies" / "small", {replicate.id: 30.0 for replicate in left})
    with Lease(store.root / "studies" / "small"):
        now = time.time()
        # One of yesterday, then two at a time, of 6 s each.
        ends(store, [now - 86400, *(now + 6 * (1 + index // 2) for index in range(6))], 6.0)
        monkeypatch.setattr(time, "time", lambda: now + 18)
        found, out = content(known, capsys), lines(known, capsys)
    assert found["replicates_per_hour"] == pytest.approx(6 / 18 * 3600, rel=0.01)
    assert "\nrate: 20 a minute\n" in out
    assert found["seconds_left"] == pytest.approx(2 * 30 / 2, rel=0.01)
    assert "\ntime left: about 30 s\n" in out


def test_a_store_of_two_torch_versions_is_shown_as_such(
    known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "warning" not in lines(known, capsys)
    path = next(known.glob("replicates/*/result.json"))
    result = json.loads(path.read_text())
    other = {"torch_version": "9.9.9", "device": "cpu of tomorrow", "data_fingerprint": "f00"}
    path.write_text(json.dumps(result | other))
    out = lines(known, capsys)
    for words in ("torch versions", "devices", "data sets"):
        assert f"warning: translated_digits(places=1): replicates of 2 {words}: " in out
    assert "9.9.9 (1)" in out


def test_an_unknown_study_names_those_that_are_there(known: Path) -> None:
    with pytest.raises(UserError, match=r"unknown study in .*: 'smal'; did you mean 'small'\?"):
        status.load("smal", Store(known))


def test_retry_trains_what_failed_and_what_that_blocked(
    trained: Any, store_copy: Path, database: str
) -> None:
    study = Study(**trained.spec | {"name": "retried"})
    where: dict[str, Any] = {"store": store_copy, "tracking_uri": database, "local": True}
    before = {p: p.stat().st_mtime_ns for p in store_copy.glob("replicates/*/result.json")}
    assert not study.run(**where).complete
    outcome = study.run(**where, retry=True)
    assert outcome.complete
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert not list(store_copy.glob("replicates/*/failure.json"))
    replicates = outcome.tables["replicates"]
    assert set(replicates["status"]) == {"finished"}
    assert replicates["error"].isna().all()


def test_one_target_that_diverges_costs_the_others_nothing(
    trained: Any, tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good = trained.spec["targets"][0]
    bad = good | {"width": 9, "train": {"optimizer": "sgd", "lr": 1e30}}
    spec = trained.spec | {"name": "half", "targets": [good, bad], "states": ["untrained"]}
    outcome = Study(**spec).run(store=tmp_path, tracking_uri=database, local=True)
    assert not outcome.complete
    replicates = outcome.tables["replicates"]
    failed = replicates["target"].str.contains("width=9") & (replicates["role"] != "guide")
    assert set(replicates[failed]["status"]) == {"failed"}
    assert set(replicates[~failed]["status"]) == {"finished"}
    assert replicates[failed]["error"].str.contains("DivergedError: train/.* is (?:nan|inf)").all()
    transfer = outcome.tables["transfer"]
    lost = transfer[transfer["target"].str.contains("width=9")]
    assert set(lost["n"]) == {0}
    assert set(lost["n_failed"]) == {2}
    assert lost["difference"].isna().all()
    assert "failed: fcn(depth=2,width=9)" in capsys.readouterr().out


def test_where_the_store_holds_no_mlflow_the_command_names_one(
    known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = f"/status-{uuid4().hex}"
    fsspec.filesystem("memory").put(str(known), place, recursive=True)
    status.show("small", f"memory://{place}", as_json=False)
    again = f"archprior retry SPEC --tracking-uri http://HOST:5000 --store memory://{place} trains"
    assert again in capsys.readouterr().out
