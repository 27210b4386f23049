"""Bundles from untrusted hands: nothing leaves the store, or is written unless all is whole."""

from __future__ import annotations

import io
import json
import random
import stat
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.bundle import bringing
from study.bundle.layout import is_allowed
from study.errors import SpecError


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A store to be, in a folder in which nothing else may appear."""
    inner = tmp_path / "world" / "store"
    inner.parent.mkdir()
    return inner


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.parent.rglob("*") if not path.is_dir()]


def refused(path: Path, target: Path, message: str, **more: Any) -> None:
    with pytest.raises(SpecError, match=message):
        bringing.bring(path, target, **more)
    assert files_in(target) == []


ODD = (
    "../evil", "/etc/evil", "studies/../../evil.json", "studies/small/../../../evil.json",
    "..\\evil", "C:/evil.json", "studies/small/.hidden.json", "studies/small/evil.py",
    "replicates/0123456789abcdef/evil.json", "replicates/../evil/result.json", "evil.json",
    "replicates/0123456789abcdef/checkpoint/../../../evil", "studies/small/a/b.json", "",
    "studies/small/imports/../../../../evil", "mlflow.db", "ray/evil", "studies/small/x.json/",
    "replicates/0123456789ABCDEF/result.json", "studies/small/a\nb.json", "studies/small/\x1b.json",
)  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_paths_that_lead_elsewhere(spoiled: Any, target: Path, name: str) -> None:
    assert not is_allowed(name)
    path = spoiled(lambda files: files.update({name: b"{}"}))
    refused(path, target, "has no place|no plain file")


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_no_allowed_path_leaves_the_store(name: str) -> None:
    for path in (name, f"studies/small/{name}", f"studies/small/imports/{name}"):
        if is_allowed(path):
            parts = path.split("/")
            assert not {"", ".", ".."} & {*parts}
            assert not path.startswith("/")
            assert not {"\\", "\0", "\n"} & {*path}
            assert Path("/s", path).resolve().is_relative_to("/s")


def test_links_and_devices(spoiled: Any, target: Path) -> None:
    for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFDIR):

        def odd(entry: zipfile.ZipInfo, kind: int = kind) -> None:
            if entry.filename.endswith("spec.yaml"):
                entry.external_attr = (kind | 0o777) << 16

        refused(spoiled(info=odd), target, "is no plain file")


def test_a_file_twice(spoiled: Any, target: Path) -> None:
    path = spoiled()
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("studies/small/spec.yaml", b"name: other")
    refused(path, target, "stands twice")


def test_what_is_not_listed_or_not_there(spoiled: Any, target: Path) -> None:
    added = spoiled(lambda files: files.update({"README.md": b"other"}), listed=False)
    refused(added, target, "has another size than is listed")
    removed = spoiled(lambda files: files.pop("README.md"), listed=False)
    refused(removed, target, "is listed and not there")
    extra = {"studies/small/more.json": b"{}"}
    refused(spoiled(lambda f: f.update(extra), listed=False), target, "is not listed")


def test_content_that_was_changed(spoiled: Any, target: Path) -> None:
    def change(files: dict[str, bytes]) -> None:
        name = next(each for each in files if each.endswith("history.parquet"))
        files[name] = bytes(len(files[name]))

    refused(spoiled(change, listed=False), target, "is damaged: it is not what was exported")


def test_bombs(spoiled: Any, target: Path) -> None:
    bomb = {"studies/small/more.json": b"0" * 50_000_000}
    small = {"compress_type": zipfile.ZIP_DEFLATED}

    def deflate(entry: zipfile.ZipInfo) -> None:
        entry.compress_type = small["compress_type"]

    path = spoiled(lambda files: files.update(bomb), info=deflate)
    assert path.stat().st_size < 10_000_000
    refused(path, target, r"unpacks to 0.0\d+ GiB; --max-gib allows 0.01", max_gib=0.01)
    refused(path, target, "larger than any such file")


def test_sizes_that_lie(spoiled: Any, target: Path) -> None:
    """The directory of the zip file says fewer bytes than its stream holds."""
    path = spoiled(info=lambda e: setattr(e, "compress_type", zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("README.md")
        manifest = json.loads(archive.read("bundle.json"))
    content = path.read_bytes()
    size = entry.file_size.to_bytes(4, "little")
    at = content.rindex(b"README.md") - 46 + 24
    assert content[at : at + 4] == size
    manifest["files"]["README.md"][0] = 10
    path.write_bytes(content[:at] + (10).to_bytes(4, "little") + content[at + 4 :])
    refused(path, target, "another size")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"format": 99}, "has format 99, this archprior reads up to 1: upgrade"),
        ({"study": "../evil"}, "cannot be the name of a study"),
        ({"study": "other"}, "is of another study"),
        ({"format": None}, "bundle.json is damaged"),
        ({"more": 1}, "bundle.json is damaged"),
        ({"files": {"README.md": [float("inf"), "0"]}}, "bundle.json is damaged"),
    ],
)
def test_manifests(spoiled: Any, target: Path, facts: dict[str, Any], message: str) -> None:
    refused(spoiled(listed="files" not in facts, **facts), target, message)


def test_a_manifest_larger_than_its_list(spoiled: Any, target: Path) -> None:
    path = spoiled(created=" " * 1_000_000)
    refused(path, target, "bundle.json is larger than any bundle needs")


def edited_plan(files: dict[str, bytes], **columns: Any) -> None:
    name = "studies/small/plan.parquet"
    table = pq.read_table(io.BytesIO(files[name]))
    rows = [{**row, **columns} for row in table.to_pylist()]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), buffer)
    files[name] = buffer.getvalue()


def test_plans(spoiled: Any, target: Path) -> None:
    red = spoiled(lambda files: edited_plan(files, target="\x1b[31mfcn"))
    refused(red, target, "control characters in target")
    other = spoiled(lambda files: edited_plan(files, replicate_id="0" * 16))
    refused(other, target, "is not in the study's plan")
    plan = "studies/small/plan.parquet"
    refused(spoiled(lambda files: files.pop(plan)), target, "plan.parquet|is missing")
    refused(spoiled(lambda files: files.update({plan: b"PAR1"})), target, "is damaged")


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        ("spec.yaml", b"a: &a [*a, *a]\nname: [", "spec.yaml"),
        ("spec.yaml", b"!!python/object/apply:os.system ['true']", "spec.yaml"),
        ("result.json", b"{", "is damaged"),
        ("result.json", b"[1]", "it holds a list, no mapping"),
        ("result.json", b'{"metrics": ' + b"[" * 100_000, "is damaged"),
        ("failure.json", b"{}", "is damaged"),
        ("history.parquet", b"PAR1 and no more", "is damaged"),
    ],
)
def test_damaged_files(
    spoiled: Any, target: Path, suffix: str, content: bytes, message: str
) -> None:
    def change(files: dict[str, bytes]) -> None:
        files[next(each for each in files if each.endswith(suffix))] = content

    refused(spoiled(change), target, message)


def test_results_that_list_files_elsewhere(spoiled: Any, target: Path) -> None:
    def change(files: dict[str, bytes]) -> None:
        name = next(each for each in files if each.endswith("result.json"))
        result = json.loads(files[name])
        result["files"]["../../evil"] = [1, "0" * 64]
        files[name] = json.dumps(result).encode()

    refused(spoiled(change), target, r"it lists \['../../evil'\]")


def test_pages_are_not_brought(spoiled: Any, target: Path) -> None:
    page = {"studies/small/report.html": b"<script>alert(1)</script>"}
    bringing.bring(spoiled(lambda files: files.update(page)), target)
    assert not list(target.rglob("*.html"))


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"no zip file", bytes(1000)])
def test_no_zip_files(tmp_path: Path, target: Path, content: bytes) -> None:
    path = tmp_path / "file.zip"
    path.write_bytes(content)
    refused(path, target, "is no zip file|has no bundle.json")


def test_no_file(tmp_path: Path, target: Path) -> None:
    refused(tmp_path / "nothing.zip", target, "cannot be read: No such file")


def test_other_zip_files(tmp_path: Path, target: Path) -> None:
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("README.md", "hello")
    refused(path, target, "is not a bundle of archprior: it has no bundle.json")


def test_damaged_bytes_anywhere(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One byte changed, or the end cut off: whole and the same, or a clear error."""
    chance, content = random.Random(0), bundle.read_bytes()
    folder = tmp_path_factory.mktemp("damaged")
    for number in range(40):
        at = chance.randrange(len(content))
        end = at if number % 4 == 0 else len(content)
        changed = content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 : end]
        path, store = folder / "damaged.zip", folder / str(number)
        path.write_bytes(changed if end > at else content[:at])
        try:
            bringing.bring(path, store)
        except SpecError:
            assert not [each for each in store.rglob("*") if not each.is_dir()]
        else:
            # A byte that means nothing: a date, or a hint to the system.
            assert (store / "studies" / "small" / "spec.yaml").exists()
