"""The description of a bundle, as hubs and validators of Croissant read it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import yaml

from analysis.schema import SCHEMAS
from study.bundle import card, writing
from study.bundle.layout import Manifest


@pytest.fixture
def unpacked(bundle: Path, tmp_path: Path) -> Path:
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_croissant_is_valid_and_reads_the_tables(unpacked: Path) -> None:
    croissant = pytest.importorskip("mlcroissant")
    described = croissant.Dataset(jsonld=str(unpacked / "croissant.json"))
    assert not described.metadata.issues.errors
    # There is no paper of a study's own to cite.
    assert all("citeAs" in each for each in described.metadata.issues.warnings)
    assert described.metadata.name == "small"
    names = {each.name for each in described.metadata.record_sets}
    assert {"replicates", "transfer", "history"} <= names <= SCHEMAS.keys()
    rows = list(described.records("transfer"))
    assert len(rows) == 8
    assert rows[0]["transfer/target"] == b"fcn(depth=2,width=8)"


def test_croissant_lists_every_table_with_its_digest(unpacked: Path) -> None:
    import hashlib

    content = json.loads((unpacked / "croissant.json").read_text())
    assert content["license"] == "https://spdx.org/licenses/CC-BY-4.0"
    assert content["description"] == "Does a tiny ResNet help?"
    for each in content["distribution"]:
        file = (unpacked / each["contentUrl"]).read_bytes()
        assert each["sha256"] == hashlib.sha256(file).hexdigest()
    fields = [each for record in content["recordSet"] for each in record["field"]]
    assert all(each["description"] for each in fields)


def front(text: str) -> dict:
    _, header, _ = text.split("---\n", 2)
    return yaml.safe_load(header)


def test_the_card_has_what_hubs_read(unpacked: Path) -> None:
    text = (unpacked / "README.md").read_text()
    found = front(text)
    assert found["license"] == "cc-by-4.0"
    assert found["pretty_name"] == "small"
    files = {each["config_name"]: each["data_files"] for each in found["configs"]}
    assert all((unpacked / path).is_file() for path in files.values())
    assert {"replicates", "transfer"} <= files.keys()
    for said in (
        "# small\n",
        "Does a tiny ResNet help?",
        "not established",
        "git\\_commit: trained",
    ):
        assert said in text


def test_markup_in_names_is_text() -> None:
    manifest = Manifest(
        study="small", archprior="1", created="2026-01-01", license="MIT", weights=False, files={}
    )
    text = card.write(
        manifest, question="<script>`x`</script>\n---\nlicense: other", tables=[],
        sentences=["The *cnn* [link](http://x) | lifts"], provenance=[],
    ).decode()  # fmt: skip
    assert "<script>" not in text.replace("\\<", "")
    assert "\\*cnn\\* \\[link\\](http://x) \\| lifts" in text
    assert front(text)["license"] == "mit"
    assert text.count("\n---\n") == 1


def test_a_licence_may_be_a_file(analyzed: Path, tmp_path: Path) -> None:
    (tmp_path / "terms.txt").write_text("Ask me.")
    path = tmp_path / "small.zip"
    writing.export("small", analyzed, path, license=str(tmp_path / "terms.txt"))
    with zipfile.ZipFile(path) as archive:
        assert archive.read("LICENSE.txt") == b"Ask me."
        assert front(archive.read("README.md").decode())["license"] == "other"


def test_without_a_licence_it_says_so() -> None:
    assert b"No licence was chosen" in card.license_text("unknown")
    assert b"SPDX-License-Identifier: MIT" in card.license_text("MIT")
