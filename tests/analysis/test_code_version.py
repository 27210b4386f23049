"""The version of the code that makes tables: that of the process, whatever lies on disk since."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
import analysis
for path in sys.argv[1:]:
    with Path(path).open("a") as file:
        file.write("# changed\\n")
print(analysis.code_version.code_version())
"""


def test_a_change_in_mid_run_is_neither_the_old_code_nor_the_new(tmp_path: Path) -> None:
    import analysis

    copy = tmp_path / "analysis"
    shutil.copytree(Path(analysis.__file__).parent, copy)

    def version(*changed: Path) -> str:
        command = [sys.executable, "-c", SCRIPT, *map(str, changed)]
        environment = dict(os.environ) | {"PYTHONPATH": str(tmp_path)}
        ran = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return ran.stdout

    before = version()
    during = version(copy / "tables.py")
    after = version()
    assert len({before, during, after}) == 3
    assert version() == after
