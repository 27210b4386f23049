"""`expect:` and `published:` in a spec, and the command `check` on a study that was trained."""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

import analysis
from analysis.collect import Planned
from study import Study
from study.plan.build import Plan
from study.plan.table import encode
from study.spec.read import SpecError, read
from tests.helpers.command_line import Archprior
from tests.helpers.plans import IMAGES, plan_of

SOURCE = {"source": "a paper"}
MARGIN = {"accuracy": 0.01}
#: Of the spec `small`: what holds of any accuracy, what of none, and what is to be seen.
HOLDS, FAILS = "baseline >= 0", {"rule": "guide - baseline >= 2", "claim": "a wonder"}


def test_good_rules_are_read() -> None:
    spec = read(
        {
            **IMAGES,
            "expect": [
                "trained - baseline >= 3 points",
                {"rule": "input <= 1", "metric": "loss"},
                {"rule": "trained >= 0", "metric": "consistency.excess"},
            ],
            "published": [{"of": "trained", "value": 0.5, "metric": "alignment"} | SOURCE],
        }
    )
    assert [rule.text for rule in spec.expect] == [
        "trained - baseline >= 3 points", "input <= 1", "trained >= 0"
    ]  # fmt: skip
    assert spec.published[0].value == 0.5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"expect": [HOLDS, HOLDS, "traned >= 0"]}, ["expect[2]: unknown term", "'trained'"]),
        ({"expect": ["trained > 0"]}, ["expect[0]: use >= or <="]),
        ({"expect": [{"rule": HOLDS, "metric": "acuracy"}]}, ["expect[0].metric", "'accuracy'"]),
        ({"expect": [{"rule": HOLDS, "metric": "perplexity"}]}, ["alignment", "loss"]),
        (
            {"expect": [{"rule": HOLDS, "metric": "consistency.kapa"}]},
            ["expect[0]: unknown column of consistency: 'kapa'; did you mean 'kappa'?"],
        ),
        ({"expect": HOLDS}, ["expect: give a list (got 'baseline >= 0')"]),
        ({"expect": [5]}, ["expect[0]: give text"]),
        ({"published": [{"of": "trained"}]}, ["published[0]: value is needed"]),
        ({"published": [{"of": "trained {a: b}", "value": 1} | SOURCE]}, ["unknown column 'a'"]),
        (
            {"published": [{"of": "trained", "value": 1, "metric": "los"} | SOURCE]},
            ["published[0].metric", "did you mean 'loss'"],
        ),
        ({"expects": []}, ["expects: unknown key 'expects'; did you mean 'expect'?"]),
        ({"grids": [{"expect": [HOLDS]}]}, ["expect"]),
    ],
)
def test_bad_rules_are_refused(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        read({**IMAGES, **changes})
    assert [word for word in words if word not in str(caught.value)] == []


def test_rows_to_confirm_and_margins_are_read() -> None:
    named = {"row": "untrained", "where": {"alpha": 1}, "claim": "the architecture helps"}
    spec = read({**IMAGES, "confirm": ["trained {guide: resnet2d}", named], "margin": MARGIN})
    found = [(str(each.row), each.claim) for each in spec.confirm]
    assert found == [
        ("trained {guide: resnet2d}", None), ("untrained {alpha: 1}", "the architecture helps"),
    ]  # fmt: skip
    assert spec.margin == MARGIN


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"margin": {"acuracy": 0.01}}, "margin.acuracy: unknown metric 'acuracy'; did you mean "
         "'accuracy'? (known: accuracy, loss)"),
        ({"margin": {"alignment": 0.1}}, "margin.alignment: unknown metric 'alignment'"),
        ({"margin": {"accuracy": 0}}, "margin.accuracy: Input should be greater than 0 (got 0)"),
        ({"margin": {"accuracy": float("inf")}}, "margin.accuracy: Input should be a finite"),
        ({"margin": {"accuracy": True}}, "margin.accuracy: give a number (got True)"),
        ({"margin": 0.01}, "margin: give a mapping of test metrics to the largest difference"),
        ({"margin": {1: 0.01}}, "margin: give a mapping of test metrics to the largest difference"),
        ({"confirm": "trained"}, "confirm: give a list (got 'trained')"),
        ({"confirm": ["traned"]}, "confirm[0]: unknown term 'traned'; did you mean 'trained'?"),
        ({"confirm": ["input"]}, "confirm[0]: row: 'input' has no verdict; allowed: trained, untr"),
        ({"confirm": ["trained - baseline >= 0"]}, "confirm[0]: row: 'trained - baseline >= 0' is"),
        ({"confirm": [{"rule": "trained"}]}, "confirm[0]: unknown key 'rule' (known: claim, row"),
        ({"confirm": [5]}, "confirm[0]: give text, or a mapping with row"),
        ({"grids": [{"margin": MARGIN}]}, "margin"),
    ],
)  # fmt: skip
def test_bad_rows_to_confirm_and_margins_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        read({**IMAGES, **changes})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"confirm": ["trained {guide: resnet}"]}, ["confirm[0]", "did you mean 'resnet2d'?"]),
        ({"states": "trained", "confirm": ["untrained"]}, ["confirm[0]: untrained: no condition"]),
        (
            {"schedule": [{"alpha": 1}, {"alpha": 2}], "confirm": ["trained"]},
            ["confirm[0]: trained: 2 conditions", "alpha: 1.0 | 2.0"],
        ),
        ({"expect": [HOLDS, "trained.noise >= 0"]}, ["expect[1]: trained.noise: no condition"]),
        ({"states": "trained", "expect": ["untrained - baseline >= 0"]}, ["untrained: no cond"]),
        (
            {"targets": ["fcn", {"name": "fcn", "depth": 2}], "expect": ["trained >= 0"]},
            ["2 conditions", "target: fcn | fcn(depth=2)"],
        ),
        ({"expect": ["trained {guide: resnet} >= 0"]}, ["did you mean 'resnet2d'?"]),
        (
            {"published": [{"of": "trained {task: mnist}", "value": 1} | SOURCE]},
            ["published[0]: unknown task 'mnist'"],
        ),
    ],
)
def test_terms_are_checked_with_the_plan(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        plan_of(**changes)
    assert [word for word in words if word not in str(caught.value)] == []
    # A study that ran with such a rule can still be looked at.
    assert len(Plan(read({**IMAGES, **changes}))) > 0


MIXED = {"guides": {"mix": ["resnet2d", "vit"], "weights": [[1, 0], [0.5, 0.5]]}}
MIXTURE = 'trained {guide: "0.5*resnet2d+0.5*vit"}'


@pytest.mark.parametrize(
    "entry",
    [
        {"rule": f"{MIXTURE} >= .5"},
        {"rule": f"{MIXTURE} - baseline >= 0"},
        {"rule": f"trained {{guide: resnet2d}} - {MIXTURE} >= 0"},
        {"rule": 'baseline {guide: "0.5*resnet2d+0.5*vit"} >= 0'},
        {"rule": f"{MIXTURE} >= 0", "metric": "consistency.excess"},
        {"of": MIXTURE, "value": 0.5} | SOURCE,
    ],
)
def test_nothing_is_asked_of_a_mixture_and_its_guide(entry: dict[str, Any]) -> None:
    key = "expect" if "rule" in entry else "published"
    entry = {"metric": "alignment"} | entry
    with pytest.raises(SpecError) as caught:
        plan_of(**MIXED, **{key: [entry]})
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"spec: {key}[0]: ")
    assert f"{entry['metric']} is of one guide, and the mixture 0.5*resnet2d+0.5*vit has" in line


def test_alignment_may_be_asked_of_one_guide_beside_mixtures() -> None:
    rule = "trained {guide: resnet2d} - baseline >= 0"
    mixture = {"rule": f"{MIXTURE} >= 0", "metric": "consistency.kappa.baseline"}
    plan_of(**MIXED, expect=[{"rule": rule, "metric": "alignment"}, mixture, f"{MIXTURE} >= 0"])


def test_a_published_number_may_be_of_what_is_not_planned() -> None:
    plan_of(states="trained", published=[{"of": "untrained", "value": 1} | SOURCE])


def test_rules_change_no_id() -> None:
    plain = [r.id for r in plan_of().replicates]
    stated = {"expect": [HOLDS], "confirm": ["trained"], "margin": MARGIN}
    assert [r.id for r in plan_of(**stated).replicates] == plain


def test_the_plan_in_a_store_has_rows_to_confirm_and_margins() -> None:
    plan = plan_of(confirm=[{"row": "trained", "where": {"alpha": 1}}], margin=MARGIN)
    found = Planned.of(pq.read_table(io.BytesIO(encode(plan, {}))), "it")
    named = {"row": "trained", "where": {"alpha": 1}, "claim": None}
    assert (found.margins, list(found.confirm)) == (MARGIN, [named])
    assert {row["role"] for row in found.rows if row["required_controls"]} == {"guided"}
    (task,) = found.tasks.values()
    assert task.chance == {"accuracy": 0.1, "loss": pytest.approx(math.log(10))}


@pytest.fixture(scope="module")
def analysed(
    trained: Any, database: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A store whose study `small` has tables, and what the run that wrote them printed."""
    store = Path(shutil.copytree(trained.folder, tmp_path_factory.mktemp("analysed") / "store"))
    spec = {**trained.spec, "name": "expected", "expect": [HOLDS, FAILS]}
    spec["published"] = [{"of": "guide", "value": 0.9, "spread": 0.01} | SOURCE]
    outcome = Study(**spec).run(store=store, tracking_uri=database, local=True)
    from study.cli import checking

    return store, "\n".join(checking.summary(outcome.tables["expectations"]))


@pytest.fixture
def store(analysed: tuple[Path, str], tmp_path: Path) -> Path:
    """The analysed study alone, which a test may change."""
    folder = analysed[0] / "studies" / "expected"
    shutil.copytree(folder, tmp_path / "store" / "studies" / "expected")
    return tmp_path / "store"


def rules_of(store: Path, **changes: Any) -> None:
    path = store / "studies" / "expected" / "spec.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


@pytest.mark.processes
def test_a_run_writes_the_table_and_a_line(analysed: tuple[Path, str]) -> None:
    store, line = analysed
    assert line == "1 of 2 expectations hold"
    found = analysis.load("expected", "expectations", store=store)
    assert found["place"].tolist() == ["expect[0]", "expect[1]", "published[0]"]
    replicates = analysis.load("expected", "replicates", store=store)
    baselines = replicates[replicates["role"] == "baseline"]
    assert found["value"][0] == pytest.approx(baselines["test_accuracy"].mean())
    # The guide of seed 1 failed.
    assert found["n"].tolist() == [2, 1, 1]


@pytest.mark.processes
def test_check_prints_and_exits(archprior: Archprior, store: Path) -> None:
    status, out, _ = archprior("check", "expected", "--store", store)
    assert status == 1
    for words in (HOLDS, "a wonder", "holds", "fails", "0.900 ± 0.010", "a paper"):
        assert words in out
    # Two seeds have no interval.
    assert "established" not in out
    # Not followed by the command that was just given.
    assert out.endswith("1 of 2 expectations hold\n")
    rules_of(store, expect=[HOLDS])
    status, out, _ = archprior("check", "expected", "--store", store)
    assert (status, out.splitlines()[-1][:6]) == (0, "1 of 1")
    found = pd.read_parquet(store / "studies" / "expected" / "expectations.parquet")
    assert found["rule"].tolist() == [HOLDS, "guide"]


@pytest.mark.processes
def test_check_says_what_cannot_be_checked(archprior: Archprior, store: Path) -> None:
    rules_of(store, expect=["trained.noise >= 0", "traned >= 0"], published=[])
    status, out, _ = archprior("check", "expected", "--store", store)
    assert status == 1
    assert "cannot be checked" in out
    assert "expect[0]: trained.noise: no condition of the study" in out
    assert "expect[1]: unknown term 'traned'" in out
    rules_of(store, expect=[], published=[{"of": "untrained.noise", "value": 1} | SOURCE])
    status, out, _ = archprior("check", "expected", "--store", store)
    assert status == 0
    assert "not run" in out


@pytest.mark.processes
def test_check_as_json(archprior: Archprior, store: Path) -> None:
    status, out, _ = archprior("check", "expected", "--store", store, "--json")
    content = json.loads(out)
    assert status == 1
    assert [row["holds"] for row in content["expect"]] == [True, False]
    assert [row["published"] for row in content["published"]] == [0.9]


@pytest.mark.processes
def test_rules_of_another_spec(
    archprior: Archprior, store: Path, spec_file: Callable[..., Path]
) -> None:
    arguments = ["check", "expected", "--store", store, "--spec"]
    status, out, _ = archprior(*arguments, spec_file(expect=["guide >= 0"]))
    assert status == 0
    assert "1 of 1" in out
    status, _, err = archprior(*arguments, spec_file(expect=["gide >= 0"]))
    assert status == 2
    assert "expect[0]: unknown term 'gide'; did you mean 'guide'?" in err


@pytest.mark.processes
def test_bad_input(archprior: Archprior, store: Path) -> None:
    def refused(study: str) -> str:
        status, out, err = archprior("check", study, "--store", store)
        assert (status, out) == (2, "")
        return err

    assert "did you mean 'expected'?" in refused("expectd")
    rules_of(store, expect=[], published=[])
    assert "no expect: rules" in refused("expected")
    rules_of(store, expect=[HOLDS])
    for name in ("plan", "replicates"):
        (store / "studies" / "expected" / f"{name}.parquet").unlink()
    assert f"archprior analyze expected --store {store} writes the tables" in refused("expected")


@pytest.mark.processes
def test_the_end_of_a_run_counts(
    archprior: Archprior, analysed: tuple[Path, str], database: str, tmp_path: Path
) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text((analysed[0] / "studies" / "expected" / "spec.yaml").read_text())
    arguments = ["--local", "--store", analysed[0], "--tracking-uri", database]
    status, out, _ = archprior("run", path, *arguments)
    # Of replicates that failed, not of the rule that does not hold.
    assert status == 1
    checked = f"1 of 2 expectations hold (archprior check expected --store {analysed[0]})\n"
    assert checked in out
    status, out, _ = archprior("analyze", "expected", *arguments[1:])
    assert status == 0
    assert checked in out
