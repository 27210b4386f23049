"""A study that was imported is confirmed at fresh seeds, as it would be where it ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study import Study
from study.bundle import bringing, writing
from study.confirm import confirm
from tests.study.conftest import SPEC

RULES: dict[str, Any] = {"expect": ["baseline >= 0"], "seeds": 3}


@pytest.mark.processes
def test_an_imported_study_is_confirmed(tmp_path: Path) -> None:
    here, there, path = tmp_path / "here", tmp_path / "there", tmp_path / "small.zip"
    Study(**{**SPEC, **RULES}).run(store=here, local=True)
    writing.export("small", here, path)
    bringing.bring(path, there)
    found = confirm("small", store=there, local=True)
    assert found.frozen.seeds == [3, 4, 5]
    assert found.table["verdict"].tolist() == ["confirmed"]
    # Nothing of the study itself was trained again.
    brought = {each.name for each in (here / "replicates").iterdir()}
    for name in brought:
        result = (there / "replicates" / name / "result.json").read_text()
        assert "imported" not in result
        assert not (there / "replicates" / name / "checkpoint").exists()
