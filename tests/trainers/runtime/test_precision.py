"""bfloat16 networks, compiled networks, and what a run leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import trainers
from tests.helpers.conditions import changed
from trainers import distances, tasks
from trainers.conditions.cache_form import Cache
from trainers.conditions.condition import Condition
from trainers.conditions.ids import identity
from trainers.guides.pool import GuidePool
from trainers.runtime.devices import default_device, on_cpu
from trainers.runtime.precision import deterministic, strict
from trainers.tasks.batches import Batch
from trainers.training import train
from trainers.training.setup import RunSetup

MakeCondition = Callable[..., Condition]


def quiet(_payload: dict[str, Any]) -> None:
    pass


@pytest.mark.parametrize("kind", ["image", "token"])
def test_networks_run_in_bfloat16_and_distances_in_float32(
    kind: str, make: MakeCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.dtype, torch.dtype]] = []
    original = distances.Distance.all

    def spy(distance: Any, targets: Any, guides: Any, guide_indices: Any) -> Any:
        assert not torch.is_autocast_enabled("cpu")
        value = original(distance, targets, guides, guide_indices)
        seen.append((targets[0].dtype, value.dtype))
        return value

    monkeypatch.setattr(distances.Distance, "all", spy)
    half = trainers.train(make(kind, control="none", precision="bfloat16"), report=quiet)
    assert set(seen) == {(torch.bfloat16, torch.float32)}
    seen.clear()
    full = trainers.train(make(kind, control="none"), report=quiet)
    assert set(seen) == {(torch.float32, torch.float32)}
    # The same training, to the digits that bfloat16 keeps.
    assert half.metrics["loss"] != full.metrics["loss"]
    assert half.metrics["loss"] == pytest.approx(full.metrics["loss"], rel=0.05)
    assert {p.dtype for p in half.network.parameters()} == {torch.float32}


def test_a_guide_in_bfloat16_is_evaluated_in_float32(make: MakeCondition) -> None:
    (full,), (half,) = (
        train.guide_sources(
            RunSetup.of(make(control="none", precision=precision), 0), None, GuidePool()
        )
        for precision in ("float32", "bfloat16")
    )
    task = tasks.build(make().task)
    inputs = task.validation.inputs[:20]
    batch = Batch(inputs, torch.zeros(20, dtype=torch.long), torch.arange(20))
    for tap, expected in full.evaluate(*batch[:2]).items():
        assert torch.equal(half.evaluate(*batch[:2])[tap], expected)
    expected, shown = (source.features(batch, 0) for source in (full, half))
    assert isinstance(expected, dict)
    assert isinstance(shown, dict)
    for tap, output in shown.items():
        assert output.dtype == torch.bfloat16
        assert not torch.equal(output.float(), expected[tap])
        torch.testing.assert_close(output.float(), expected[tap], rtol=0.05, atol=0.05)


def test_a_guide_in_bfloat16_is_another_condition(make: MakeCondition) -> None:
    """Once guides ran in float32 whatever their target did: those results are not these."""

    def guide(control: str, precision: str, state: str | None = "untrained") -> dict[str, Any]:
        condition = make(control=control, state=state, precision=precision)
        return dict(identity(condition)["guidance"]["guide"])

    for control in ("none", "shuffled", "noise"):
        assert guide(control, "bfloat16")["precision"] == "bfloat16"
        assert "precision" not in guide(control, "float32")
    # Without a guide there is nothing to run.
    assert "precision" not in guide("input", "bfloat16", state=None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["image", "token"])
def test_a_compiled_network_trains_alike(kind: str, make: MakeCondition) -> None:
    eager = trainers.train(make(kind, control="none", optimizer="sgd"), report=quiet)
    compiled = trainers.train(
        make(kind, control="none", optimizer="sgd", compile=True), report=quiet
    )
    assert compiled.network.state_dict().keys() == eager.network.state_dict().keys()
    for mine, its in zip(compiled.history.points, eager.history.points, strict=True):
        assert (mine.step, mine.metric) == (its.step, its.metric)
        assert mine.value == pytest.approx(its.value, rel=1e-3, abs=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_networks_of_one_process_do_not_meet(make: MakeCondition) -> None:
    """The compiler does not see that hooks come and go: a guided run after an unguided one."""
    baseline = make(compile=True)
    guided = make(control="none", compile=True)
    first = trainers.train(guided, report=quiet)
    trainers.train(baseline, report=quiet)
    again = trainers.train(guided, report=quiet)
    assert first.metrics == again.metrics


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_run_that_is_resumed_is_undisturbed(
    make: MakeCondition,
    reports: Any,
    interruption: type[Exception],
    same_result: Any,
    tmp_path: Any,
) -> None:
    """An epoch has batches of two sizes: which of them comes first must not matter."""
    condition = make(compile=True, batch_size=100, steps=26, report_every=12)
    whole = trainers.train(condition, report=quiet)
    with pytest.raises(interruption):
        trainers.train(condition, store=tmp_path, report=reports(interrupt_at=12))
    same_result(whole, trainers.train(condition, store=tmp_path, report=quiet))


def settings() -> tuple[Any, ...]:
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    return (
        [place.fp32_precision for place in (cuda.matmul, cudnn.conv, cudnn.rnn)],
        (cudnn.benchmark, cudnn.deterministic),
        (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.cudnn_sdp_enabled()),
        torch.are_deterministic_algorithms_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )


@pytest.mark.parametrize("precision", ["ieee", "tf32"])
def test_the_policy_on_cuda_is_put_back(precision: str) -> None:
    convolutions: Any = torch.backends.cudnn.conv
    found, convolutions.fp32_precision = convolutions.fp32_precision, precision
    try:
        before = settings()
        with strict():
            assert settings() == (["ieee"] * 3, (False, True), (False,) * 3, True, False)
        assert settings() == before
    finally:
        convolutions.fp32_precision = found


def test_nothing_is_set_without_cuda() -> None:
    before = settings()
    with deterministic():
        assert settings() == before


def test_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with on_cpu():
        assert default_device() == torch.device("cpu")
    assert default_device() == torch.device("cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["image", "token"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_bits_twice_on_cuda(
    kind: str, precision: str, make: MakeCondition, same_result: Any
) -> None:
    condition = make(kind, control="none", state="trained", precision=precision)
    same_result(*(trainers.train(condition, report=quiet) for _ in range(2)))


@pytest.mark.gpu
@pytest.mark.parametrize("form", ["features", "gram", "live"])
def test_cuda_agrees_with_the_cpu(form: Any, make: MakeCondition) -> None:
    plain = make(control="none", optimizer="sgd")
    condition = changed(plain, cache=Cache(form=form, feature_bytes=0))
    on_gpu = trainers.train(condition, report=quiet)
    assert next(on_gpu.network.parameters()).is_cuda
    with on_cpu():
        expected = trainers.train(condition, report=quiet)
    assert on_gpu.metrics["loss"] == pytest.approx(expected.metrics["loss"], rel=1e-3)


@pytest.mark.gpu
def test_a_run_of_a_gpu_is_resumed_without_one(
    make: MakeCondition, reports: Any, interruption: type[Exception], tmp_path: Any
) -> None:
    condition = make(control="none")
    with pytest.raises(interruption):
        trainers.train(condition, store=tmp_path, report=reports(interrupt_at=4))
    with on_cpu():
        result = trainers.train(condition, store=tmp_path, report=quiet)
    assert result.steps == condition.train.steps
