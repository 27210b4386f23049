"""A bundle of the small study, and ways to spoil it."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.bundle import writing

Spoil = Callable[..., Path]


@pytest.fixture(scope="session")
def bundle(analyzed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study `small` as a bundle without weights."""
    path = tmp_path_factory.mktemp("bundle") / "small.zip"
    writing.export("small", analyzed, path, license="CC-BY-4.0")
    return path


@pytest.fixture
def spoiled(bundle: Path, tmp_path: Path) -> Spoil:
    """Writes a copy of the bundle with other files, and a manifest that lists them as they are.

    `change` gets the files by path, to be changed; `facts` change the manifest, `info` the entries
    of the zip file.
    """

    def write(
        change: Callable[[dict[str, bytes]], object] = lambda _: None,
        *,
        info: Callable[[zipfile.ZipInfo], object] = lambda _: None,
        listed: bool = True,
        **facts: Any,
    ) -> Path:
        with zipfile.ZipFile(bundle) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        manifest = json.loads(files.pop("bundle.json")) | facts
        change(files)
        if listed:
            manifest["files"] = {
                name: [len(content), hashlib.sha256(content).hexdigest()]
                for name, content in files.items()
            }
        path = tmp_path / "spoiled.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in {**files, "bundle.json": json.dumps(manifest).encode()}.items():
                entry = zipfile.ZipInfo(name)
                entry.external_attr = 0o644 << 16
                info(entry)
                archive.writestr(entry, content)
        return path

    return write
