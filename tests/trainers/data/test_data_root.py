"""Where data is looked for, and what is downloaded into it."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainers.data import data_root, machine_cache


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    return tmp_path / "site"


@pytest.fixture
def web(site: Path) -> Iterator[str]:
    """A server of the folder `site`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ARCHPRIOR_DATA", "ARCHPRIOR_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_root.root() == tmp_path / ".cache" / "archprior" / "data"
    assert machine_cache.root() == tmp_path / ".cache" / "archprior"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert (data_root.root(), machine_cache.root()) == (
        Path("/x/archprior/data"),
        Path("/x/archprior"),
    )
    monkeypatch.setenv("ARCHPRIOR_DATA", "~/sets")
    monkeypatch.setenv("ARCHPRIOR_CACHE", "/c")
    assert (data_root.root(), machine_cache.root()) == (tmp_path / "sets", Path("/c"))


def test_place_of(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "a").touch()
    for name in ("a", "b"):
        (tmp_path / "two" / name).touch()
    places = (tmp_path / "none", tmp_path / "one", tmp_path / "two")
    assert data_root.place_of(["a"], places) == tmp_path / "one"
    assert data_root.place_of(["a", "b"], places) == tmp_path / "two"
    assert data_root.place_of(["c"], places) is None


def test_downloads_are_whole_or_not_there(tmp_path: Path, web: str, site: Path) -> None:
    (site / "file").write_bytes(b"content")
    good = f"md5:{hashlib.md5(b'content').hexdigest()}"
    data_root.download(f"{web}/", {"file": good}, tmp_path / "here")
    assert (tmp_path / "here" / "file").read_bytes() == b"content"
    # What is there is not fetched again.
    (site / "file").unlink()
    data_root.download(f"{web}/", {"file": good}, tmp_path / "here")
    with pytest.raises(OSError, match="404"):
        data_root.download(f"{web}/", {"file": good}, tmp_path / "other")
    (site / "file").write_bytes(b"changed")
    with pytest.raises(ValueError, match="hash"):
        data_root.download(f"{web}/", {"file": good}, tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


def test_files_that_cannot_be_read_are_named(tmp_path: Path, forbidding: Any) -> None:
    path = tmp_path / "caf\udce9" / "file"
    path.parent.mkdir()
    shown = f"{tmp_path}/caf\\xe9/file"
    assert not data_root.is_file(path)
    path.symlink_to("nowhere")
    assert not data_root.is_file(path)
    with pytest.raises(ValueError, match="is a link to nowhere, which is not there") as raised:
        data_root.unpacked_digest(path)
    assert str(raised.value).startswith(shown)
    path.unlink()
    path.write_bytes(gzip.compress(b"content"))
    assert data_root.is_file(path)
    with forbidding(path), pytest.raises(ValueError, match="cannot be read: Permission denied"):
        data_root.unpacked_digest(path)
    with forbidding(path.parent), pytest.raises(ValueError, match="cannot be read: Permission"):
        data_root.is_file(path)
    for content in (gzip.compress(bytes(1000))[:-9], b"nonsense", gzip.compress(b"")[:-4]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"caf\\xe9/file (is damaged|cannot be read)"):
            data_root.unpacked_digest(path)


@pytest.mark.parametrize(
    ("labels", "classes"), [([0, 3, -1], 4), ([0, 3, 4], 4), ([1, 2, -5], None)]
)
def test_labels_that_are_no_class_are_refused(labels: list[int], classes: int | None) -> None:
    with pytest.raises(ValueError, match=r"file: 1 of 3 labels are no class, the first in row 2"):
        data_root.check_labels("file", np.array(labels), classes)
    data_root.check_labels("file", np.array([0, 1, 2]), classes)
