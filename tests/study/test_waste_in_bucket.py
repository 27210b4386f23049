"""`gc` on a store in a bucket: it finds what it finds in a folder, and removes that alone."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import s3fs

from study import waste
from study.waste import Kind
from tests.helpers.bucket import Bucket
from tests.helpers.command_line import Archprior
from tests.study.conftest import Trained
from trainers.store.lease import LEASE
from trainers.store.store import Store

pytestmark = pytest.mark.processes
LOST = "0" * 16
#: A server gives no file another time than now: so the search takes place later.
LATER = 10 * 24 * 3600


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with Bucket(tmp_path_factory.mktemp("bucket") / "server.log") as found:
        yield found


@pytest.fixture
def twins(
    bucket: Bucket,
    trained: Trained,
    analyzed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Store, Store]:
    """A store with waste of each kind in a folder, and the same in a bucket."""
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    folder = Path(shutil.copytree(analyzed, tmp_path / "store"))
    used = next(path.parent for path in sorted(folder.glob("replicates/*/result.json")))
    shutil.copytree(used, folder / "replicates" / LOST)
    expired = {"owner": "o", "host": "elsewhere", "pid": 1, "since": 0, "expires": 1}
    for name, content in {
        f"replicates/{used.name}/checkpoint/2.pt": "x" * 100,
        f"replicates/{used.name}/.history.parquet.{'0' * 32}": "half",
        "guide_cache/features/guide/meta.json": "{}",
        "guide_cache/features/guide/arrays/0.npy": "x" * 50,
        "ray/trial-1/state.json": "{}",
        f"studies/small/{LEASE}": json.dumps(expired),
        f"alignments/{LOST}-{used.name}/linear_cka.parquet": "x",
        f"profiles/{LOST}.json.gz": "x",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    remote = s3fs.S3FileSystem(endpoint_url=bucket.url, key="test", secret="test")
    uri = f"lab/{tmp_path.name}"
    remote.put(str(folder), uri, recursive=True)
    monkeypatch.setattr(waste, "time", SimpleNamespace(time=lambda: time.time() + LATER))
    return Store(folder), Store(f"s3://{uri}")


def listed(store: Store, **how: Any) -> dict[str, tuple[Kind, int]]:
    return {each.path: (each.kind, each.num_bytes) for each in waste.find(store, **how)}


def test_a_bucket_is_cleaned_as_a_folder_is(
    twins: tuple[Store, Store], archprior: Archprior
) -> None:
    folder, bucket = twins
    found = listed(folder, unused=True)
    assert {kind for kind, _ in found.values()} == set(Kind)
    assert listed(bucket, unused=True) == found
    before = dict(bucket.root.sizes())
    assert before == dict(folder.root.sizes())
    outputs = []
    for store in twins:
        status, out, err = archprior("gc", "--store", store.uri, "--unused")
        assert (status, err) == (0, ""), err
        outputs.append(out.replace(store.uri, "STORE"))
    assert outputs[0] == outputs[1]
    left = dict(bucket.root.sizes())
    assert left == dict(folder.root.sizes())
    assert sum(before.values()) - sum(left.values()) == sum(size for _, size in found.values())
    assert archprior("gc", "--store", bucket.uri, "--unused")[1].startswith("nothing removed")


def test_a_process_at_work_keeps_what_it_may_use(
    twins: tuple[Store, Store], archprior: Archprior
) -> None:
    _, bucket = twins
    found = waste.find(bucket, unused=True)
    held = {"owner": "o", "host": "elsewhere", "pid": 1, "since": 0, "expires": time.time() + 60}
    bucket.root.write(f"studies/other/{LEASE}", json.dumps(held).encode())
    kept = {each.kind for each in found if not waste.remove(bucket, each)}
    assert kept == {Kind.caches, Kind.ray, Kind.unused}
    status, _, err = archprior("gc", "--store", bucket.uri, "--unused")
    assert (status, err.count("\n")) == (2, 1)
    assert "is at work on studies/other" in err


def test_what_is_written_after_it_was_found_stays(twins: tuple[Store, Store]) -> None:
    _, bucket = twins
    (extra,) = [each for each in waste.find(bucket) if each.path.endswith("/2.pt")]
    bucket.root.write(extra.path, b"y" * 101)
    assert not waste.remove(bucket, extra)
    assert bucket.root.exists(extra.path)
