"""Alignment of a target with a guide before training, without any replicate of the target."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch

from trainers import controls
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guidance
from trainers.guides import pretrained
from trainers.guides.pool import GuidePool
from trainers.runtime.devices import default_device
from trainers.runtime.streams import isolated
from trainers.store.store import Store
from trainers.training.evaluation import similarities
from trainers.training.setup import RunSetup, initial
from trainers.training.train import guide_sources


def missing_guide(condition: Condition, seed: int, store: Store) -> str | None:
    """Why the guide of a guided condition cannot run at a seed as things are; None if it can.

    A trained guide must be finished in the store, weights of a pretrained one in the store or in
    their file: nothing is trained or downloaded.
    """
    term = _guidance(condition).term
    if any(store.replicate_of(g, seed).result() is None for g in condition.guide_conditions):
        return "its guide is not trained in the store"
    weights = term.guide.weights
    if weights is None or pretrained.stored(store, weights) is not None:
        return None
    if weights.path is not None and Path(weights.path).is_file():
        return None
    return "its guide's weights are neither in the store nor in a file here"


def initial_alignment(condition: Condition, seed: int, store: Store) -> float | None:
    """Mean unbiased linear CKA of the mapped taps of a guided condition before its first step.

    It is measured on the first validation examples, as the mapping `nearest` measures it, and
    writes nothing. None where no pair has a similarity: features that are not finite. The guide
    must be there (`missing_guide`).
    """
    guidance = _guidance(condition)
    # Without the guide's cache in the store, which would be filled.
    bare = replace(guidance, terms=(replace(guidance.term, cache=None),))
    with isolated(1):
        setup = RunSetup.of(replace(condition, treatment=bare), seed)
        device = default_device()
        network = initial(setup).to(device)
        (source,) = guide_sources(setup, store.uri, GuidePool(), keep=False)
        similar = similarities(network, source, setup.task, setup.task.validation, device)
        pairs = controls.pairs_of(bare.term, network.taps, source.taps, lambda: similar)
    rows, columns = source.taps, list(network.taps)
    places = [(rows.index(pair.guide), columns.index(pair.target)) for pair in pairs]
    value = torch.stack([similar[place] for place in places]).mean().item()
    return value if math.isfinite(value) else None


def _guidance(condition: Condition) -> Guidance:
    assert condition.guidance is not None
    return condition.guidance
