"""Taps of a guide alone: similarity to the labels and effective rank, against oracles."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from trainers import measures, tasks
from trainers.comparison import GUIDE_TAPS, GuideTapTable, Sides, align, describe, made, make
from trainers.conditions.encoding import from_json
from trainers.runtime.devices import default_device
from trainers.store.store import Store
from trainers.tasks import IGNORE, InputSpec, OutputSpec, Regression, Split
from trainers.training.evaluation import ALIGNMENT_EXAMPLES, tap_outputs
from trainers.training.train import load


def labelled(store: Path, identifier: str) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Features by tap and one-hot labels of the rows with a label, computed apart."""
    task = tasks.build(from_json(Store(store).replicate(identifier).described()).task)
    total = len(task.test.labels)
    chosen = torch.arange(min(ALIGNMENT_EXAMPLES, total)) * total // min(ALIGNMENT_EXAMPLES, total)
    outputs = tap_outputs(load(store, identifier), task.test.inputs[chosen], default_device())
    labels = task.test.labels[chosen]
    end = 1 if task.input.kind == "tokens" else 0
    if end and labels.dim() == 1:
        labels = labels[:, None].expand(-1, task.test.inputs.shape[1])
    flat = labels.flatten()
    known = flat != IGNORE
    features = {t: (o.flatten(0, end) if end else o.flatten(1))[known] for t, o in outputs.items()}
    return features, torch.nn.functional.one_hot(flat[known]).double()


def rank_of(features: torch.Tensor) -> float:
    """exp of the entropy of normalised singular values (Roy and Vetterli 2007)."""
    values = np.linalg.svd(features.double() - features.double().mean(0), compute_uv=False)
    shares = values[values > 1e-9 * values.max()] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


@pytest.mark.parametrize("kind", ["image", "token"])
def test_each_tap_beside_the_labels(trained: dict[str, Any], kind: str) -> None:
    rows = describe(trained["store"], trained[f"{kind} guide"])
    features, labels = labelled(trained["store"], trained[f"{kind} guide"])
    assert [row["tap"] for row in rows] == list(features)
    measure = measures.create("linear_cka", unbiased=True)
    for row in rows:
        assert list(row) == list(GUIDE_TAPS)
        tap = features[row["tap"]]
        assert row["label_similarity"] == pytest.approx(measure(labels, tap), abs=1e-6)
        assert row["effective_rank"] == pytest.approx(rank_of(tap), rel=1e-4)
        assert (row["n"], row["guide_moment"]) == (len(labels), "final")
        assert row["guide_id"] == trained[f"{kind} guide"]


class ValuesOfTokens(Regression):
    """Two values of each sequence of four tokens, one of which is that of labels to ignore."""

    num_train = 20
    input = InputSpec(kind="tokens", shape=(4,), vocabulary=5)
    output = OutputSpec(num_values=2)

    def load(self) -> dict[str, Split]:
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randint(0, 5, (20, 4), generator=generator)
        labels = torch.randn(20, 2, generator=generator)
        labels[3] = float(IGNORE)
        return dict.fromkeys(("train", "validation", "test"), Split(inputs, labels))


def test_labels_of_values_stand_at_each_token_and_none_is_left_out() -> None:
    task = ValuesOfTokens()
    tap = torch.randn(20, 4, 3, generator=torch.Generator().manual_seed(1))
    features = SimpleNamespace(
        inputs=task.test.inputs, features=lambda _: {"tap": tap.flatten(0, 1)}
    )
    side: Any = SimpleNamespace(task=task, id="a" * 16, moment="final")
    file: Any = SimpleNamespace(write=lambda rows: rows)
    sides: Any = SimpleNamespace(features=lambda *_: features)
    (row,) = GuideTapTable(side, file).compute(sides)
    labels = task.test.labels[:, None].expand(-1, 4, -1).flatten(0, 1)
    measure = measures.create("linear_cka", unbiased=True)
    assert row["n"] == 80
    assert row["label_similarity"] == pytest.approx(measure(labels, tap.flatten(0, 1)), abs=1e-6)


def test_training_brings_taps_nearer_to_the_labels(trained: dict[str, Any]) -> None:
    store, guide = trained["store"], trained["image guide"]
    before, after = (describe(store, guide, guide_moment=each) for each in ("initial", "final"))
    assert {row["guide_moment"] for row in before} == {"initial"}
    assert after[-1]["label_similarity"] > before[-1]["label_similarity"]


def test_rows_are_kept_and_damage_is_made_good(
    trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, guide = trained["store"], trained["image guide"]
    rows = describe(store, guide)
    (file,) = (store / "alignments" / f"{guide}-{guide}").glob("guide_taps-final-*.parquet")
    with monkeypatch.context() as patch:
        patch.setattr(GuideTapTable, "compute", lambda *_: pytest.fail("computed again"))
        assert describe(store, guide) == rows
        assert made(store, guide_id=guide, guide_moment="final", guide_seed=None) == rows
    content = file.read_bytes()
    file.write_bytes(content[:-20])
    assert made(store, guide_id=guide, guide_moment="final", guide_seed=None) is None
    assert describe(store, guide) == rows
    assert file.read_bytes() == content


def test_a_target_makes_it_an_alignment(trained: dict[str, Any]) -> None:
    store, target, guide = trained["store"], trained["image"], trained["image guide"]
    assert make(store, sides=Sides(), guide_id=guide) == describe(store, guide)
    pair = {"target_id": target, "guide_id": guide}
    assert make(store, sides=Sides(), **pair) == align(store, target, guide)
    assert made(store, **pair) == align(store, target, guide)


def test_a_guide_that_is_not_finished(trained: dict[str, Any]) -> None:
    with pytest.raises(FileNotFoundError, match="no finished replicate"):
        describe(trained["store"], "0" * 16)
