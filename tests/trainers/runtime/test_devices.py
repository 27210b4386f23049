"""Names of devices, which say when replicates were trained on unlike processors."""

from __future__ import annotations

import pytest
import torch

from trainers.runtime.devices import device_name

CPU = torch.device("cpu")


def test_a_processor_is_named_with_its_vector_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    # Both change sums in their last bits, and so what a training comes to.
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": "AMD EPYC 7763"})
    assert device_name(CPU) == "cpu (AMD EPYC 7763, AVX2)"


def test_a_processor_without_a_name_is_told_by_its_architecture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    for known in ({"architecture": "aarch64"}, {"architecture": "aarch64", "cpu_name": ""}):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known)
        assert device_name(CPU) == "cpu (aarch64, DEFAULT)"


def test_this_machine_has_a_name() -> None:
    assert device_name(CPU).startswith("cpu (")
    assert torch.backends.cpu.get_cpu_capability() in device_name(CPU)
