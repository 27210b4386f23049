"""Public modules are attributes of their packages, as the documentation writes them."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "code",
    [
        "import trainers; trainers.extensions.load, trainers.distances.create, trainers.train",
        "import study; study.confirm.confirm, study.Study",
        "import analysis; analysis.sentences.sentence, analysis.plots.save, analysis.load",
        "import trainers; assert {'train', 'align', 'distances'} <= set(dir(trainers))",
        "import study; assert 'Study' in dir(study)",
    ],
)
def test_they_are_there_in_a_fresh_interpreter(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("package", ["trainers", "study", "analysis"])
def test_what_is_not_there_is_no_attribute(package: str) -> None:
    module = __import__(package)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018
