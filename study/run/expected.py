"""Expected training times of a study, kept beside it, to be set against what it took."""

from __future__ import annotations

import json
from collections.abc import Mapping

from analysis.contract import EXPECTED_SECONDS
from trainers.data import json_mapping
from trainers.store.folder import Folder


def remember(folder: Folder, seconds: Mapping[str, float]) -> None:
    """Add expected training seconds, by replicate id, to those of a study's folder.

    What was expected of a replicate first stays: later estimates know what others took.
    """
    known: dict[str, float] = {}
    if folder.exists(EXPECTED_SECONDS):
        try:
            known = json_mapping.parse(folder.read(EXPECTED_SECONDS))
        except ValueError:
            # It decides nothing: a damaged one is written anew.
            known = {}
    merged = {name: round(each, 3) for name, each in seconds.items()} | known
    if merged != known:
        folder.write(EXPECTED_SECONDS, json.dumps(merged, indent=0).encode())
