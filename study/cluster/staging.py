"""The folder that travels with a job: our sources, the spec, and the user's modules.

Nodes need none of them. Ray puts a job's working folder on the path of its driver and its workers.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import yaml

from study.errors import SpecError
from study.plan.weights import changed, is_of_a_folder
from study.study import Study
from trainers.extensions.code_digest import PACKAGES

#: Name of the spec in a job's working folder.
SPEC_FILE = "archprior-study.yaml"
#: Folder of the user's modules there.
_IMPORTS = "archprior-imports"


def stage(study: Study, folder: Path) -> None:
    """Write into an empty folder what a job of this study needs.

    Raises SpecError where the spec names files of this machine that the job would not find.
    """
    raw = changed(study.raw, _staged, study.name)
    for package in PACKAGES:
        spec = find_spec(package)
        source = None if spec is None else next(iter(spec.submodule_search_locations or ()), None)
        assert source is not None
        # Hidden files are no sources: see `code_digest`.
        hidden = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(source, folder / package, ignore=hidden)
    if study.spec.imports:
        raw["imports"] = []
        for module in study.spec.imports:
            place = PurePosixPath(_IMPORTS, module.name)
            for name, text in module.files.items():
                path = folder / (place if module.is_package else place.parent) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            raw["imports"].append(str(place if module.is_package else place.with_suffix(".py")))
    text = study.opening + yaml.safe_dump(raw, sort_keys=False)
    (folder / SPEC_FILE).write_text(text, encoding="utf-8")


def _staged(place: str, weights: str) -> str:
    """A name of weights as a job can have it; raises SpecError."""
    if is_of_a_folder(weights):
        raise SpecError(
            f"{place}: {weights!r} is relative to a folder of this machine; a job needs an "
            "absolute path that all nodes have, or a published name"
        )
    return weights
