"""Provenance of a study's numbers: commit, uncommitted changes, versions, host."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path

from study.errors import SpecError
from trainers.extensions.code_digest import source_digest

#: Variable that holds the facts of git, as JSON, where sources come without their repository.
GIT_FACTS = "ARCHPRIOR_GIT_FACTS"
_PACKAGES = ("archprior", "torch", "ray", "mlflow", "numpy", "pandas", "pyarrow")
_SOURCES = Path(__file__).resolve().parents[2]


def provenance() -> dict[str, str]:
    """Facts of the driver's code and machine, as tags; git's only where there is a repository.

    Raises SpecError as `git_facts` does.
    """
    facts = {"python_version": platform.python_version(), "host": socket.gethostname()}
    facts["source_digest"] = source_digest()
    for package in _PACKAGES:
        try:
            facts[f"{package}_version"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return facts | git_facts()


def git_facts() -> dict[str, str]:
    """Commit and digest of uncommitted changes; of a job those of the machine that submitted it.

    Raises SpecError where the variable that names them is no JSON object of texts.
    """
    if GIT_FACTS in os.environ:
        return _sent(os.environ[GIT_FACTS])
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {}
    facts = {"git_commit": commit.strip()}
    difference = _git("diff", "HEAD") or ""
    if difference:
        facts["git_diff_sha256"] = hashlib.sha256(difference.encode()).hexdigest()
    return facts


def _sent(text: str) -> dict[str, str]:
    try:
        facts = json.loads(text)
    except ValueError:
        facts = None
    if not isinstance(facts, dict) or not all(isinstance(each, str) for each in facts.values()):
        raise SpecError(
            f'{GIT_FACTS}: give JSON such as {{"git_commit": "COMMIT"}}, or unset it '
            f"(got {text!r:.80})"
        )
    return facts


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(_SOURCES), *arguments],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
