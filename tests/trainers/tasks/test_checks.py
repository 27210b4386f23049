"""Tasks that are not what they say are refused by name, before anything trains on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.registries import restored
from trainers import tasks
from trainers.architectures import ARCHITECTURES, build
from trainers.errors import UserError
from trainers.registry import Component
from trainers.tasks import IGNORE, Classification, InputSpec, OutputSpec, Split, Task
from trainers.tasks.checks import TaskError, check_augmented, clusters_of
from trainers.training import evaluation


def drawn(size: int, seed: int = 0) -> Split:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(size, 1, 6, generator=generator)
    return Split(inputs, (inputs.sum((1, 2)) > 0).long())


class Given(Classification):
    """A task of two classes, with what a test makes of it."""

    def __init__(self, *, changes: Any = ()) -> None:
        self.input = InputSpec(kind="signal", shape=(1, 6))
        self.output, self.num_train = OutputSpec(num_classes=2), 20
        self.made: dict[str, Any] = {n: drawn(20) for n in ("train", "validation", "test")}
        for name, value in dict(changes).items():
            setattr(self, name, value)

    def load(self) -> Mapping[str, Split]:
        return self.made


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    with restored():
        tasks.register("of_a_test")(Given)
        yield


def task(**changes: Any) -> Task:
    # Without a component nothing of it is kept for other processes.
    return Given(changes=changes)


def splits(**changes: Any) -> dict[str, Any]:
    return {name: drawn(20) for name in ("train", "validation", "test")} | changes


def labelled(labels: Tensor) -> Split:
    return Split(drawn(20).inputs, labels)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([1], "load gives a list"),
        ({"train": drawn(20), "test": drawn(20)}, "load gives no split 'validation'"),
        (splits(test=(1, 2, 3)), "split 'test' is a tuple; give Split"),
        (splits(test=Split([1], [2])), "split 'test' holds list and list; give tensors"),
        (splits(test=Split(drawn(20).inputs, drawn(19).labels)), "20 inputs and 19 labels"),
        (splits(test=drawn(0)), "split 'test' has 0 examples; it needs 4 or more"),
        (splits(validation=drawn(3)), "split 'validation' has 3 examples; it needs 4 or more"),
        (splits(train=drawn(19)), "num_train is 20, and its training split has 19"),
        (
            splits(train=Split(drawn(20).inputs[:, 0], drawn(20).labels)),
            r"split 'train' has inputs of shape \(6,\); input.shape is \(1, 6\)",
        ),
        (
            splits(train=Split(drawn(20).inputs.double(), drawn(20).labels)),
            r"split 'train' has inputs of type float64; .* float32 \(inputs.float\(\)\)",
        ),
        (
            splits(test=Split(drawn(20).inputs.byte(), drawn(20).labels)),
            "split 'test' has inputs of type uint8",
        ),
        (
            splits(test=Split(drawn(20).inputs / 0, drawn(20).labels)),
            "split 'test' has inputs that are not finite",
        ),
        (
            splits(train=labelled(drawn(20).labels + 1)),
            r"split 'train' has labels from 1 to 2; allowed: 0 to 1 \(output.num_classes is 2\)",
        ),
        (splits(test=labelled(drawn(20).labels.int())), "labels of type int32; they are int64"),
        (splits(test=labelled(drawn(20).labels[:, None])), r"labels of shape \(20, 1\); give"),
        (
            splits(test=labelled(torch.full((20,), IGNORE))),
            "split 'test' has no label: all are -100",
        ),
    ],
)
def test_splits_that_are_refused(made: Any, message: str) -> None:
    with pytest.raises(TaskError, match=f"task 'Given': .*{message}"):
        _ = task(made=made).splits


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(20, 2).double(), r"labels of type float64; values are float32 \(labels.float"),
        (torch.zeros(20, 2).long(), "labels of type int64; values are float32"),
        (torch.zeros(20), r"labels of shape \(20,\); give \(examples, 2\)"),
        (torch.zeros(20, 1), r"labels of shape \(20, 1\); give \(examples, 2\)"),
        (torch.zeros(20, 2) / 0, "labels that are not finite"),
    ],
)
def test_values_that_are_refused(labels: Tensor, message: str) -> None:
    values = OutputSpec(num_values=2)
    good = labelled(torch.ones(20, 2))
    made = {"train": good, "validation": good, "test": labelled(labels)}
    with pytest.raises(TaskError, match=f"split 'test' has {message}"):
        _ = task(made=made, output=values).splits
    _ = task(made=made | {"test": good}, output=values).splits


def test_splits_that_are_taken() -> None:
    some = drawn(20).labels.clone()
    some[3:] = IGNORE
    _ = task(made=splits(test=labelled(some))).splits
    tokens = InputSpec(kind="tokens", shape=(5,), vocabulary=7)
    few = Split(torch.randint(7, (1, 5)), torch.randint(2, (1,)))
    made = {"validation": few, "test": few}
    _ = task(made=made, input=tokens, num_train=None).splits


def test_tokens_out_of_the_vocabulary() -> None:
    tokens = InputSpec(kind="tokens", shape=(5,), vocabulary=7)
    few = Split(torch.full((4, 5), 7), torch.randint(2, (4,)))
    made = {"validation": few, "test": few}
    with pytest.raises(TaskError, match="tokens from 7 to 7; allowed: 0 to 6"):
        _ = task(made=made, input=tokens, num_train=None).splits


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": InputSpec(kind="sound", shape=(4,))}, "input.kind is 'sound'; allowed: image"),  # type: ignore[arg-type]
        ({"input": InputSpec(kind="image", shape=(8, 8))}, "inputs of kind image have 3"),
        ({"input": InputSpec(kind="signal", shape=(0, 8))}, r"input.shape is \(0, 8\); give sizes"),
        ({"input": InputSpec(kind="tokens", shape=(8,))}, "input.vocabulary is None"),
        ({"input": (1, 40)}, r"input is \(1, 40\); give InputSpec"),
        ({"input": InputSpec(kind="signal", shape=40)}, "input.shape is 40; give a tuple"),  # type: ignore[arg-type]
        ({"input": InputSpec(kind="signal", shape=[1, 40])}, "input.shape is .*; give a tuple"),  # type: ignore[arg-type]
        ({"input": InputSpec(kind=["signal"], shape=(1, 40))}, "input.kind is .*; allowed: image"),  # type: ignore[arg-type]
        ({"output": 10}, "output is 10; give OutputSpec"),
        ({"output": OutputSpec(num_classes=0)}, "output.num_classes is 0; give 1 or more"),
        ({"output": OutputSpec()}, "output has no size; give num_classes or num_values"),
        (
            {"output": OutputSpec(num_classes=2, num_values=1)},
            "output has num_classes and num_values; give num_classes or num_values",
        ),
        (
            {"output": OutputSpec(num_values=1)},
            "output has num_values; its loss and metrics need num_classes",
        ),
        (
            {"output": OutputSpec(num_values=0), "answers_with": None},
            "output.num_values is 0; give 1 or more",
        ),
        (
            {"output": OutputSpec(num_values=1, per_position=True), "answers_with": None},
            "values are of whole examples",
        ),
        ({"num_train": 0}, "num_train is 0; give 1 or more"),
        ({"num_train": 2.5}, "num_train is 2.5; give 1 or more"),
        (
            {"primary_metric": "f1"},
            "primary_metric is 'f1'; give one of higher_is_better: accuracy, loss",
        ),
        ({"higher_is_better": {}}, r"higher_is_better is \{\}; give metric"),
        ({"higher_is_better": {"loss": "no"}}, "higher_is_better: loss is 'no'; give True"),
    ],
)
def test_specs_that_are_refused(
    changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Given.__init__, "__kwdefaults__", {"changes": changes})
    with pytest.raises(TaskError, match=f"task 'of_a_test': .*{message}"):
        tasks.build(Component("of_a_test"))


@pytest.mark.parametrize("chance", [float("nan"), float("inf"), "a tenth"])
def test_a_chance_that_is_no_number_is_refused(
    chance: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Given, "chance", lambda self, metric: chance)
    monkeypatch.setattr(Given.__init__, "__kwdefaults__", {"changes": {}})
    with pytest.raises(TaskError, match=r"chance of accuracy is .*; give a finite number, or None"):
        tasks.build(Component("of_a_test"))


@pytest.mark.parametrize("name", ["acc@5", "top[5]", "a=b", "50%", "", "x" * 101, None, "a/b", "-"])
def test_names_of_metrics_that_are_refused(name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"higher_is_better": {"accuracy": True, name: True}}
    monkeypatch.setattr(Given.__init__, "__kwdefaults__", {"changes": changes})
    with pytest.raises(TaskError, match="a name is letters, digits"):
        tasks.build(Component("of_a_test"))


@pytest.mark.parametrize("missing", ["input", "output", "num_train"])
def test_attributes_that_are_missing(missing: str) -> None:
    class Lacks(Given):
        def __init__(self) -> None:
            super().__init__()
            delattr(self, missing)

    tasks.register("lacks")(Lacks)
    with pytest.raises(TaskError, match=f"task 'lacks': it has no '{missing}'"):
        tasks.build(Component("lacks"))


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ({"accuracy": 0.5}, "score gives accuracy; higher_is_better names accuracy, loss"),
        ({"accuracy": 0.5, "loss": 1.0, "f1": 1.0}, "score gives accuracy, loss, f1"),
        ({"accuracy": None, "loss": 1.0}, "score gives .*None.*; give a number"),
        (None, "score gives None"),
    ],
)
def test_scores_that_are_refused(score: Any, message: str) -> None:
    class Scores(Given):
        def score(self, sums: Mapping[str, float]) -> Any:
            return score

    given = Scores()
    network = build(ARCHITECTURES.component("fcn", depth=1, width=4), given.input, given.output)
    with pytest.raises(TaskError, match=message):
        evaluation.evaluate(network, given, given.test, torch.device("cpu"))


@pytest.mark.parametrize(("sums", "kind"), [(None, "NoneType"), (["hits"], "list")])
def test_sums_that_are_refused(sums: Any, kind: str) -> None:
    class Tallies(Given):
        def tally(self, logits: Tensor, labels: Tensor) -> Any:
            return sums

    given = Tallies()
    network = build(ARCHITECTURES.component("fcn", depth=1, width=4), given.input, given.output)
    with pytest.raises(TaskError, match=f"task 'Tallies': tally gives a {kind}; give a mapping"):
        evaluation.evaluate(network, given, given.test, torch.device("cpu"))


@pytest.mark.parametrize(
    ("augmented", "message"),
    [
        (lambda _: None, "augment gives a NoneType; give the augmented tensor"),
        (lambda example: (example, 1), "augment gives a tuple"),
        (lambda example: example.numpy(), "augment gives a ndarray"),
        (lambda example: example.double(), r"augment gives \(1, 6\) of type float64"),
    ],
)
def test_augmented_inputs_that_are_refused(augmented: Any, message: str) -> None:
    class Augments(Given):
        def augment(self, example: Tensor, generator: torch.Generator) -> Any:
            return augmented(example)

    with pytest.raises(TaskError, match=f"task 'Augments': {message}"):
        check_augmented(Augments())


@pytest.mark.parametrize("size", [251, 253, 499, 1001])
def test_test_splits_of_any_size(size: int) -> None:
    """The last part is as large as the others but for one example."""
    given = task(made=splits(test=drawn(size)))
    network = build(ARCHITECTURES.component("fcn", depth=1, width=4), given.input, given.output)
    network.eval()

    class Shows:
        taps = ("g",)

        def features(self, batch: Any, step: int) -> Any:
            raise NotImplementedError

        def evaluate(self, inputs: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
            return {"g": inputs.flatten(1)}

    rows = evaluation.alignment(network, Shows(), given, torch.device("cpu"))
    assert [row["n"] for row in rows] == [min(size, 500)]


def test_test_examples_are_clusters_of_their_own_unless_the_task_says_more() -> None:
    assert clusters_of(task()).tolist() == list(range(20))
    assert clusters_of(task(clusters=torch.arange(20) // 4)).max() == 4


def test_images_of_one_digit_are_a_cluster() -> None:
    built = tasks.build(tasks.TASKS.component("translated_digits", places=1))
    clusters, test = clusters_of(built), built.test
    # A digit has the same pixels at each of its places, in another order.
    pixels = test.inputs.flatten(1).sort(1).values
    for number in (0, 7, 399):
        same = pixels[clusters == number]
        assert len(same) == 4
        assert torch.equal(same, same[:1].expand_as(same))
        assert len(test.labels[clusters == number].unique()) == 1


@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        ([0] * 20, "clusters are list; give an int64 tensor"),
        (torch.zeros(20), "clusters are torch.float32; give an int64 tensor"),
        (torch.arange(19), r"clusters have shape \(19,\).* each of the 20 test examples"),
        (
            torch.arange(20) - 1,
            r"clusters have shape .* lowest value -1; give a number of 0 or more",
        ),
    ],
)
def test_clusters_are_a_number_for_each_test_example(clusters: Any, message: str) -> None:
    with pytest.raises(TaskError, match=f"task 'Given': {message}"):
        clusters_of(task(clusters=clusters))


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (Task, "has no loss, predict, score, tally: derive from Classification or Regression"),
        (Classification, "has no load$"),
    ],
)
def test_a_task_that_lacks_methods_is_refused_by_name(base: Any, message: str) -> None:
    load = {"load": Given.load} if base is Task else {}
    tasks.register("old")(type("Old", (base,), {"__module__": __name__, **load}))
    with pytest.raises(UserError, match=rf"^task 'old' \(Old\) {message}"):
        tasks.build(tasks.TASKS.component("old"))


def test_a_task_without_a_data_seed_is_built_once_however_it_is_asked_for() -> None:
    digits = tasks.TASKS.component("digits")
    built = tasks.build(digits)
    assert tasks.build(digits, None) is built
    assert tasks.build(digits, data_seed=None) is built
    assert tasks.build(digits, 1) is not built
