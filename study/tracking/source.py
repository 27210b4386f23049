"""Source of runs in MLflow's own tags: what started them, who, and which commit."""

from __future__ import annotations

import getpass
from collections.abc import Mapping


def source_tags(study: str) -> dict[str, str]:
    """Tags of every run of a study: the command that makes it, and the user."""
    tags = {"mlflow.source.name": f"archprior run {study}", "mlflow.source.type": "LOCAL"}
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container may run under an id without a name.
        return tags
    return tags | {"mlflow.user": user}


def commit_tags(provenance: Mapping[str, str]) -> dict[str, str]:
    """Tags of the commit that provenance names, and whether there were changes beside it."""
    commit = provenance.get("git_commit")
    if commit is None:
        return {}
    dirty = "git_diff_sha256" in provenance
    return {"mlflow.source.git.commit": commit, "mlflow.source.git.dirty": str(dirty)}
