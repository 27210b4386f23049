"""Commands that are suggested name the store that they are about."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.hints import command


@pytest.mark.parametrize(
    ("store", "shown"),
    [
        ("archprior-store", ""),
        ("HERE/archprior-store", ""),
        ("other", " --store other"),
        ("HERE/below/my store", " --store 'below/my store'"),
        ("/far/store", " --store /far/store"),
        ("../store", " --store ../store"),
        ("s3://lab/store", " --store s3://lab/store"),
        (None, ""),
    ],
)
def test_a_command_names_its_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str | None, shown: str
) -> None:
    monkeypatch.chdir(tmp_path)
    place = None if store is None else store.replace("HERE", str(tmp_path))
    assert command("check", "small", store=place) == f"archprior check small{shown}"
