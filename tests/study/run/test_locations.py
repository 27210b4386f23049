"""Where a study may write: what is refused before anything starts, and in which words."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from analysis.parquet_files import filesystem_of
from study import Study
from study.errors import SpecError
from study.run.locations import open_store, tracking_options, tracking_uri_of
from study.tracking import database
from tests.helpers.command_line import Archprior
from tests.helpers.full_disk import full_disk
from trainers.store.folder import Folder
from trainers.store.store import Store


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Lets the file system of the test's folder be of a kind."""

    def mount(kind: str) -> Path:
        parts = [("/", "ext4"), (str(tmp_path), kind)]
        found = [SimpleNamespace(mountpoint=place, fstype=fs) for place, fs in parts]
        monkeypatch.setattr(psutil, "disk_partitions", lambda all: found)
        return tmp_path

    return mount


#: Types that machines share, as they stand in /proc/mounts.
SHARED = [
    "nfs4", "nfs", "cifs", "smb3", "lustre", "fuse.sshfs", "wekafs", "panfs", "orangefs",
    "virtiofs", "9p", "afs", "davfs", "gpfs", "ceph", "fuse", "fuse.blobfuse2",
    "fuse.mountpoint-s3", "fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse",
    "fuse.goofys", "fuse.ceph-fuse", "fuse.glusterfs", "beegfs_nodev", "gfs2",
]  # fmt: skip
LOCAL = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay", "apfs", "hfs",
    "ntfs", "ntfs3", "vfat", "ramfs", "bcachefs", "fuseblk", "fuse.fuse-overlayfs",
]  # fmt: skip


@pytest.mark.parametrize("kind", SHARED)
def test_sqlite_on_a_network_file_system_is_refused(mounted: Any, kind: str) -> None:
    store = Store(mounted(kind) / "not" / "there" / "yet")
    with pytest.raises(SpecError, match=rf"network file system \({kind}\).*MLflow server"):
        tracking_uri_of(store, None)
    with pytest.raises(SpecError, match="network file system"):
        tracking_uri_of(Store("/elsewhere"), f"sqlite:///{store.uri}/mlflow.db")
    assert tracking_uri_of(store, "http://host:5000") == "http://host:5000"
    assert tracking_uri_of(store, "sqlite:////elsewhere/x.db") == "sqlite:////elsewhere/x.db"


@pytest.mark.parametrize("kind", [*LOCAL, "new2fs", "fuse.new2fs"])
def test_sqlite_on_a_local_disk_is_the_default(mounted: Any, kind: str) -> None:
    folder = mounted(kind)
    assert tracking_uri_of(Store(folder), None) == f"sqlite:///{folder}/mlflow.db"
    assert tracking_options(Store(folder)) == []


@pytest.mark.parametrize("kind", [*LOCAL, "new2fs", "fuse.new2fs"])
def test_a_database_on_a_file_system_of_an_unknown_type_is_said(mounted: Any, kind: str) -> None:
    store, said = Folder(mounted(kind)), list[str]()
    database.prepare(f"sqlite:///{store.uri}/mlflow.db", store, None, said.append)
    assert [re.findall(r"unknown type \((.*?)\)", line) for line in said] == (
        [] if kind in LOCAL else [[kind]]
    )


@pytest.mark.parametrize("kind", ["nfs4", "ext4"])
def test_a_worker_names_the_command_that_works_on_its_store(
    mounted: Any, kind: str, archprior: Archprior, trained: Any
) -> None:
    folder = mounted(kind)
    spec, store = folder / "spec.yaml", folder / "store"
    spec.write_text(json.dumps(trained.spec))
    shutil.copytree(trained.folder, store)
    _, out, _ = archprior("work", spec, "--store", store)
    hint, _, rest = out.splitlines()[-1].partition(" writes the tables and MLflow")
    options = shlex.split(hint)[3:]
    if kind == "ext4":
        assert (options, rest) == (["--local", "--store", str(store)], "")
        return
    assert options == ["--local", "--tracking-uri", "http://HOST:5000", "--store", str(store)]
    assert rest == "; HOST is where an `mlflow server` runs"


def test_the_real_file_system_of_a_folder_is_known(tmp_path: Path) -> None:
    assert tracking_uri_of(Store(tmp_path), None).endswith("/mlflow.db")


def test_a_full_disk_is_said_before_anything_starts(tmp_path: Path) -> None:
    with (
        full_disk(after=0),
        pytest.raises(SpecError, match=r"--store: .* not writable: .*No space left on device"),
    ):
        open_store(tmp_path)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        # Nobody listens on port 9 of this machine.
        ("http://127.0.0.1:9", "http://127.0.0.1:9"),
        ("tape://somewhere", "tape"),
    ],
)
def test_a_tracking_server_that_is_not_there(
    uri: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trained: Any
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with pytest.raises(SpecError, match=f"--tracking-uri: MLflow at .*{words}"):
        Study(**trained.spec).run(store=tmp_path, tracking_uri=uri, local=True)
    assert not list(tmp_path.glob("replicates/*"))


@pytest.mark.parametrize("name", ["a::b", "data:x", "~no-such-user/x", "a b?c#%20", "x/../y"])
def test_a_path_without_a_protocol_is_taken_as_it_stands(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Folder(name).uri == filesystem_of(name)[1] == f"{tmp_path}/{name}"
    Folder(name).write("file", b"content")
    assert (tmp_path / name / "file").read_bytes() == b"content"
    assert tracking_uri_of(Store(name), None).startswith("sqlite")


def test_a_home_folder_and_protocols_are_understood() -> None:
    assert Folder("~/x").uri == filesystem_of("~/x")[1] == str(Path.home() / "x")
    assert Folder("memory://x/y").uri == "memory:///x/y"
    assert Folder("file:///x/y/").uri == filesystem_of("file:///x/y/")[1] == "/x/y"


@pytest.mark.parametrize(("uri", "extra"), [("s3://lab/x", "s3"), ("gs://lab/x", "gcs")])
def test_a_bucket_without_its_package_names_our_extra(
    uri: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_arguments: Any, **_options: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(SpecError, match=rf"Install s3fs.*pip install 'archprior\[{extra}\]', on"):
        open_store(uri)


@pytest.mark.parametrize("store", ["/", "//", "file:///"])
def test_the_root_of_all_files_is_no_store(store: str) -> None:
    with pytest.raises(SpecError, match=f"^--store: {store} is the root of all files"):
        open_store(store)


@pytest.mark.parametrize("store", ["s3:/bucket/store", "gs:bucket", "file:/data"])
def test_a_uri_with_one_slash_is_no_folder(store: str, archprior: Archprior) -> None:
    status, _, error = archprior("plan", "quickstart", "--store", store)
    scheme, _, rest = store.partition(":")
    assert status == 2
    assert f"--store: {store}: a URI has two slashes: {scheme}://{rest.lstrip('/')} (" in error


def test_a_folder_with_the_name_of_a_scheme(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store("./s3:x").uri == str(tmp_path / "s3:x")
