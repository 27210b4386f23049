"""What `gc` finds and removes: never what a study needs."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import time
import uuid
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study import Study, waste
from study.errors import SpecError
from study.waste import Kind
from tests.helpers.command_line import Archprior
from trainers.conditions import ids
from trainers.store.folder import Folder
from trainers.store.lease import LEASE
from trainers.store.store import Store

pytestmark = pytest.mark.processes

SPEC: dict[str, Any] = {
    "name": "tiny",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "depth": 1, "width": 8}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "states": ["trained"],
    "controls": ["shuffled"],
    "cache": {"max_gib": 1},
    "seeds": 2,
    "train": {"steps": 4, "batch_size": 20, "report_every": 2},
}
LONG_AGO = time.time() - 10 * 24 * 3600


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("whole") / "store"
    assert Study(**SPEC).run(store=store, local=True).complete
    for path in store.glob("guide_cache/**/*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return store


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "store"))


def put(path: Path, content: bytes = b"x" * 100, *, old: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if old:
        os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def lease(folder: Path, *, alive: bool) -> Path:
    expires = time.time() + 60 if alive else LONG_AGO
    holder = {"owner": "o", "host": socket.gethostname() if not alive else "elsewhere", "pid": 1,
              "since": LONG_AGO, "expires": expires}  # fmt: skip
    return put(folder / LEASE, json.dumps(holder).encode(), old=not alive)


def paths(store: Path, kind: Kind, **how: bool) -> set[str]:
    return {each.path for each in waste.find(Store(store), **how) if each.kind == kind}


def clean(store: Path, **how: bool) -> None:
    place = Store(store)
    for each in waste.find(place, **how):
        waste.remove(place, each)


def replicate_of(store: Path) -> Path:
    return next(path.parent for path in sorted(store.glob("replicates/*/result.json")))


def temporary(name: str) -> str:
    return f".{name}.{uuid.uuid4().hex}"


def test_each_kind_is_found_with_its_size(store: Path) -> None:
    replicate = replicate_of(store)
    name = f"replicates/{replicate.name}"
    put(replicate / "checkpoint" / "2.pt")
    put(replicate / "checkpoint" / "latest.json")
    half = put(store / "replicates" / "0" / "checkpoint" / "2.pt")
    left = [put(replicate / temporary("history.parquet")),
            put(store / "guide_cache" / "g" / temporary("arrays") / "a.npy"),
            put(store / ".import-abc" / "studies" / "s" / "spec.yaml")]  # fmt: skip
    put(replicate / temporary("new"), old=False)
    expired = lease(store / "studies" / "tiny", alive=False)
    put(store / "ray" / "run-1")
    found = waste.find(Store(store))
    by_kind = {kind: {each.path for each in found if each.kind == kind} for kind in Kind}
    assert by_kind[Kind.checkpoints] == {
        f"{name}/checkpoint/2.pt", f"{name}/checkpoint/latest.json"
    }  # fmt: skip
    tops = {left[0], left[1].parent, store / ".import-abc"}
    assert by_kind[Kind.temporaries] == {str(path.relative_to(store)) for path in tops}
    assert by_kind[Kind.leases] == {str(expired.relative_to(store))}
    assert by_kind[Kind.ray] == {"ray/run-1"}
    assert by_kind[Kind.unused] == set()
    built = {str(path.relative_to(store)) for path in store.glob("guide_cache/*/*")
             if not path.name.startswith(".")}  # fmt: skip
    assert by_kind[Kind.caches] == built != set()
    total = sum(each.num_bytes for each in found)
    before = sum(size for _, size in Store(store).root.sizes())
    clean(store)
    assert sum(size for _, size in Store(store).root.sizes()) == before - total
    assert half.exists()


def test_a_study_goes_on_as_if_nothing_had_been_removed(store: Path) -> None:
    before = pd.read_parquet(store / "studies" / "tiny" / "transfer.parquet")
    clean(store, unused=True)
    outcome = Study(**SPEC | {"seeds": 3}).run(store=store, local=True)
    assert outcome.complete
    counts = outcome.tables["replicates"].groupby("seed").size()
    assert set(counts) == {4}
    again = Study(**SPEC).run(store=store, local=True).tables["transfer"]
    pd.testing.assert_frame_equal(again, before, check_exact=True)


def test_what_processes_at_work_need_stays(store: Path) -> None:
    replicate = replicate_of(store)
    put(replicate / "checkpoint" / "2.pt")
    put(store / "ray" / "run-1")
    lease(replicate, alive=True)
    assert waste.find(Store(store)) == []
    with pytest.raises(SpecError, match=f"--unused: process 1 on elsewhere .*{replicate.name}"):
        waste.find(Store(store), unused=True)


def test_replicates_of_no_study_go_only_where_that_is_asked(store: Path) -> None:
    replicate, lost, named = replicate_of(store), "0" * 16, "1" * 16
    for name in (lost, named):
        shutil.copytree(replicate, store / "replicates" / name)
    put(store / "alignments" / f"{lost}-{replicate.name}" / "a.parquet")
    put(store / "alignments" / f"{named}-{replicate.name}" / "a.parquet")
    for name in (lost, replicate.name):
        put(store / "profiles" / f"{name}.json.gz")
    spec = store / "studies" / "tiny" / "spec.yaml"
    spec.write_text(f"{spec.read_text()}\n# replicate: {named}\n")
    assert paths(store, Kind.unused) == set()
    found = paths(store, Kind.unused, unused=True)
    assert found == {
        f"replicates/{lost}", f"alignments/{lost}-{replicate.name}", f"profiles/{lost}.json.gz"
    }  # fmt: skip
    (store / "studies" / "tiny" / "plan.parquet").write_bytes(b"PAR1")
    with pytest.raises(SpecError, match=r"--unused: .*plan.parquet is damaged"):
        waste.find(Store(store), unused=True)


def test_replicates_of_an_older_version_are_of_no_study_once_it_ran_anew(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = {f"replicates/{path.name}" for path in (store / "replicates").iterdir()}
    monkeypatch.setattr(ids, "RESULT_VERSION", ids.RESULT_VERSION + 1)
    assert paths(store, Kind.unused, unused=True) == set()
    assert Study(**SPEC).run(store=store, local=True).complete
    found = paths(store, Kind.unused, unused=True)
    assert {path for path in found if path.startswith("replicates/")} == older
    for each in waste.find(Store(store), unused=True):
        assert waste.remove(Store(store), each)
    assert not any((store / path).exists() for path in found)
    assert Study(**SPEC).run(store=store, local=True).complete


def test_the_plan_that_an_older_version_left_in_mlflow_counts(store: Path) -> None:
    plan = (store / "studies" / "tiny" / "plan.parquet").read_bytes()
    shutil.rmtree(store / "studies")
    shutil.rmtree(store / "mlflow-artifacts", ignore_errors=True)
    with pytest.raises(SpecError, match=r"--unused: .* has replicates and no plan of any study"):
        waste.find(Store(store), unused=True)
    put(store / "mlflow-artifacts" / "tiny" / "0" / "artifacts" / "plan.parquet", plan)
    assert paths(store, Kind.unused, unused=True) == set()


@pytest.mark.parametrize("name", ["studies", "replicates"])
def test_what_lies_behind_a_link_is_not_judged(store: Path, name: str) -> None:
    (store / name).rename(store.parent / name)
    (store / name).symlink_to(store.parent / name)
    with pytest.raises(SpecError, match=f"--unused: .*/{name} is a link"):
        waste.find(Store(store), unused=True)


def test_what_changes_after_it_was_found_stays(store: Path) -> None:
    place, replicate = Store(store), replicate_of(store)
    lost, taken, grown = (store / "replicates" / (digit * 16) for digit in "012")
    for folder in (lost, taken, grown):
        shutil.copytree(replicate, folder)
    leased = lease(store / "replicates" / "3", alive=False)
    file = put(replicate / "checkpoint" / "2.pt")
    found = waste.find(place, unused=True)
    removed = {each.path: each for each in found}
    lease(taken, alive=True)
    put(grown / "checkpoint" / "4.pt")
    lease(leased.parent, alive=True)
    put(file)
    os.utime(file, (time.time() + 60, time.time() + 60))
    kept = {f"replicates/{taken.name}", f"replicates/{grown.name}", "replicates/3/lease.json",
            str(file.relative_to(store))}  # fmt: skip
    assert kept < removed.keys()
    assert {path for path, each in removed.items() if not waste.remove(place, each)} == kept
    assert not lost.exists()
    assert all((store / path).exists() for path in kept)


def test_a_study_that_begins_after_the_search_keeps_what_it_may_use(store: Path) -> None:
    place, lost = Store(store), store / "replicates" / ("0" * 16)
    shutil.copytree(replicate_of(store), lost)
    put(store / "ray" / "run-1")
    found = [each for each in waste.find(place, unused=True)
             if each.kind in (Kind.caches, Kind.ray, Kind.unused)]  # fmt: skip
    assert {each.kind for each in found} == {Kind.caches, Kind.ray, Kind.unused}
    lease(store / "studies" / "new", alive=True)
    assert not any(waste.remove(place, each) for each in found)


def test_cached_features_that_were_just_written_stay(store: Path) -> None:
    assert paths(store, Kind.caches)
    for path in store.glob("guide_cache/**/*"):
        os.utime(path)
    assert paths(store, Kind.caches) == set()


def test_the_command_says_what_it_does(archprior: Archprior, store: Path) -> None:
    clean(store)
    extra = put(replicate_of(store) / "checkpoint" / "2.pt")
    status, out, err = archprior("gc", "--store", store, "--dry-run")
    assert (status, err) == (0, "")
    assert out == (
        "checkpoints of finished replicates: 1, 100 B\n"
        f"100 B (100 bytes) would be removed from {store}\n"
    )
    assert extra.exists()
    content = json.loads(archprior("gc", "--store", store, "--json")[1])
    assert (content["removed"], content["bytes"], len(content["waste"])) == (True, 100, 1)
    assert not extra.exists()
    assert archprior("gc", "--store", store)[1] == f"nothing removed from {store}\n"


def test_what_cannot_be_removed_hides_nothing(
    archprior: Archprior, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean(store)
    for step in (2, 3, 4):
        put(replicate_of(store) / "checkpoint" / f"{step}.pt")
    remove = Folder.remove

    def refused(self: Folder, name: str) -> None:
        if name.endswith(("2.pt", "3.pt")):
            raise PermissionError(13, "Permission denied")
        remove(self, name)

    monkeypatch.setattr(Folder, "remove", refused)
    status, out, err = archprior("gc", "--store", store)
    assert (status, out.splitlines()[0]) == (2, "checkpoints of finished replicates: 1, 100 B")
    assert re.fullmatch(r"error: --store: .*2\.pt cannot be removed: .* \(and 1 more\)\n", err)
    assert len(list(replicate_of(store).glob("checkpoint/[23].pt"))) == 2
