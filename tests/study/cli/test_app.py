"""The command line: exit statuses, clean errors, and what `--help` does not import."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.study import Study
from tests.helpers.command_line import Archprior
from trainers.tasks import TASKS, InputSpec
from trainers.tasks.translated_digits import TranslatedDigits


def one_error(result: tuple[int, str, str]) -> str:
    """The message of a command that refused its input: status 2, no traceback."""
    status, out, err = result
    assert status == 2, (out, err)
    assert "Traceback" not in out + err
    assert err.startswith("error: ")
    return err


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom study.cli.app import main\n"
        f"sys.argv = ['archprior', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = ('torch', 'ray', 'mlflow', 'pandas', 'pyarrow', 'scipy')\n"
        "print('imported:', [name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported: []"


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "study", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in ("list", "validate", "plan", "run", "analyze", "ui"):
        assert name in done.stdout


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("architectures", ["fcn", "resnet2d", "transformer", "inputs: image"]),
        ("tasks", ["copy_paste", "mnist1d", "translated_digits"]),
        (
            "distances",
            ["linear_cka", "unbiased=false", "invariances: rotation", "bias: ", "cost: "],
        ),
        ("distances", ["hint", "distillation", "temperature=4", "source: "]),
        ("mappings", ["evenly_spaced", "last", "options: k=1"]),
        ("measures", ["mutual_knn", "svcca", "source: "]),
        ("presets", ["quickstart", "How much of a guide's prior"]),
    ],
)
def test_list(archprior: Archprior, kind: str, words: list[str]) -> None:
    status, out, _ = archprior("list", kind)
    assert status == 0
    assert [word for word in words if word not in out] == []


def test_list_taps(archprior: Archprior) -> None:
    status, out, _ = archprior("list", "taps", "fcn")
    assert status == 0
    assert "on translated_digits: hidden.layer1, hidden.layer2" in out
    assert "copy_paste" not in out
    assert "did you mean 'fcn'?" in one_error(archprior("list", "taps", "fnc"))
    assert "name an architecture" in one_error(archprior("list", "taps"))


def test_list_taps_of_an_entry_with_options(archprior: Archprior) -> None:
    status, out, _ = archprior("list", "taps", "{name: fcn, depth: 2}")
    assert status == 0
    assert "on mnist1d: hidden.layer1, hidden.layer2\n" in out
    status, out, _ = archprior("list", "taps", "{name: fcn, depth: [1, 2]}")
    assert status == 0
    assert [line for line in out.splitlines() if line.startswith("fcn")] == [
        "fcn(depth=1)",
        "fcn(depth=2)",
    ]
    assert "did you mean 'depth'?" in one_error(archprior("list", "taps", "{name: fcn, dept: 2}"))
    assert "list taps: " in one_error(archprior("list", "taps", "{name: fcn"))


class OddDigits(TranslatedDigits):
    """Images of 15 x 15 pixels, which cannot be cut into patches of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.input = InputSpec(kind="image", shape=(1, 15, 15))


@pytest.mark.usefixtures("registries")
def test_list_taps_says_which_tasks_do_not_suit(archprior: Archprior) -> None:
    TASKS.register("odd_digits")(OddDigits)
    status, out, _ = archprior("list", "taps", "vit")
    assert status == 0
    assert "on translated_digits: encoder.layers.encoder_layer_0, " in out
    assert "on odd_digits: impossible: architecture vit: patch is 4" in out
    assert "depth 0" in one_error(archprior("list", "taps", "{name: vit, depth: 0}"))


def test_controls_are_listed_with_where_they_belong(archprior: Archprior) -> None:
    status, out, _ = archprior("list", "controls")
    assert status == 0
    lines = out.splitlines()
    assert not any(line.startswith("none ") for line in lines)
    labels = next(i for i, line in enumerate(lines) if line.startswith("labels "))
    assert lines[labels + 1 : labels + 3] == [
        "    of: taps of trained guides (standard)", "    options: at=last",
    ]  # fmt: skip
    assert lines[-1].startswith("standard ")


def test_validate(archprior: Archprior) -> None:
    status, out, _ = archprior("validate", "quickstart")
    good, *notes = out.splitlines()
    assert (status, good) == (0, "quickstart: good; 17 conditions, 69 replicates")
    # The guide that stops early has no controls.
    assert notes == [
        "note: taps of trained guides (1 of 3 guided conditions): no control shuffled, input, "
        "labels; a gain there cannot be called guide-specific (controls: standard has what a "
        "claim needs)"
    ]


def test_validate_refuses_a_bad_spec(archprior: Archprior, spec_file: Callable[..., Path]) -> None:
    message = one_error(archprior("validate", spec_file(targets=["fnc"], seeds=0)))
    assert "targets[0]" in message
    assert "seeds" in message
    assert len(message.splitlines()) == 2
    message = one_error(archprior("validate", spec_file(guides=["cnn1d"])))
    assert "'cnn1d'" in message
    assert "did you mean 'quickstart'?" in one_error(archprior("validate", "quikstart"))


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_bad_spec_starts_nothing(
    archprior: Archprior, spec_file: Callable[..., Path], tmp_path: Path, command: str
) -> None:
    store = tmp_path / "never"
    one_error(archprior(command, spec_file(seeds=0), "--store", store))
    assert not store.exists()


def test_usage_errors(archprior: Archprior) -> None:
    for arguments in (["list", "planets"], ["validate"], ["plan", "quickstart", "--jason"]):
        status, out, err = archprior(*arguments)
        assert status == 2
        assert "Traceback" not in out + err


def test_plan_counts_what_the_store_holds(
    archprior: Archprior, trained: Any, store_copy: Path, spec_file: Callable[..., Path]
) -> None:
    status, out, _ = archprior("plan", spec_file(), "--store", store_copy)
    assert status == 0
    assert "12 replicates" in out
    assert "9 done" in out
    assert "1 failed" in out
    assert "2 blocked" in out
    before = sorted(path for path in store_copy.rglob("*"))
    status, out, _ = archprior("plan", spec_file(), "--store", store_copy, "--json")
    content = json.loads(out)
    assert status == 0
    assert content["counts"] == {"finished": 9, "failed": 1, "blocked": 2}
    assert content["trials"] == []
    assert content["expected_seconds"] == 0
    assert {r["replicate_id"] for r in content["replicates"]} == {
        r.id for r in trained.plan.replicates
    }
    assert sorted(path for path in store_copy.rglob("*")) == before


def test_plan_on_an_empty_store(
    archprior: Archprior, spec_file: Callable[..., Path], tmp_path: Path
) -> None:
    store = tmp_path / "never"
    status, out, _ = archprior("plan", spec_file(), "--store", store, "--json")
    assert status == 0
    assert not store.exists()
    content = json.loads(out)
    assert content["counts"] == {"missing": 12}
    packed = [i for trial in content["trials"] for i in trial["replicates"]]
    assert sorted(packed) == sorted(r["replicate_id"] for r in content["replicates"])
    assert content["expected_seconds"] > 0
    assert content["expected_seconds"] == pytest.approx(
        sum(r["expected_seconds"] for r in content["replicates"])
    )


def test_a_store_that_cannot_be_written(
    archprior: Archprior, spec_file: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    message = one_error(archprior("run", spec_file(), "--local", "--store", tmp_path / "file"))
    assert "--store" in message
    assert "not writable" in message


@pytest.mark.parametrize(
    "command", ["status small", "plan SPEC", "analyze small", "check small", "ui"]
)
@pytest.mark.parametrize(
    ("store", "words"),
    [
        ("file", "Not a directory"),
        ("file/below", "Not a directory"),
        ("file/far/below", "Not a directory"),
        ("x" * 300, "File name too long"),
        ("", "give a folder"),
        ("tape://x", "Protocol not known: tape; give a folder, or a URI"),
        pytest.param("abfs://box/x", "Install adlfs", marks=pytest.mark.skipif(
            importlib.util.find_spec("adlfs") is not None, reason="adlfs is installed")),
    ],
)  # fmt: skip
def test_a_store_that_cannot_be_read(
    archprior: Archprior, spec_file: Callable[..., Path], tmp_path: Path, command: str, store: str,
    words: str,
) -> None:  # fmt: skip
    (tmp_path / "file").write_text("")
    place = tmp_path / store if store and "://" not in store else store
    arguments = [str(spec_file()) if part == "SPEC" else part for part in command.split()]
    message = one_error(archprior(*arguments, "--store", place))
    assert message.startswith("error: --store: ")
    assert words in message
    assert len(message.splitlines()) == 1


def test_a_ui_of_no_store_is_refused(archprior: Archprior, tmp_path: Path) -> None:
    message = one_error(archprior("ui", "--store", tmp_path / "none"))
    assert message.startswith(f"error: --store: {tmp_path}/none does not exist; ")
    assert len(message.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_bucket_needs_a_tracking_server(
    archprior: Archprior, spec_file: Callable[..., Path]
) -> None:
    message = one_error(archprior("run", spec_file(), "--local", "--store", "memory://study"))
    assert "--tracking-uri" in message
    assert "memory://" in message


def test_a_store_of_an_unknown_kind(archprior: Archprior, spec_file: Callable[..., Path]) -> None:
    assert "tape" in one_error(archprior("plan", spec_file(), "--store", "tape://study"))


def test_a_study_that_was_never_run(archprior: Archprior, tmp_path: Path) -> None:
    message = one_error(archprior("analyze", "small", "--store", tmp_path))
    assert "unknown study in " in message


@pytest.mark.processes
def test_status_1_when_replicates_failed(
    archprior: Archprior,
    store_copy: Path,
    spec_file: Callable[..., Path],
    database: str,
    tmp_path: Path,
) -> None:
    """Nothing is left to train: what failed is reported, and is left alone."""
    arguments = ["--local", "--store", store_copy, "--tracking-uri", database]
    status, out, _ = archprior("run", spec_file(name="with-failures"), *arguments)
    assert status == 1
    assert "out of luck" in out
    assert "failed: guide resnet2d(blocks=1,width=2) on translated_digits(places=1), seed 1" in out
    assert "blocks 2 replicates" in out
    options = f"--store {store_copy} --tracking-uri {database} --local"
    assert f"archprior retry {tmp_path}/spec.yaml {options} trains failed" in out
    assert (store_copy / "studies" / "with-failures" / "transfer.parquet").exists()


def test_python_and_files_are_the_same_study(spec_file: Callable[..., Path], trained: Any) -> None:
    loaded = Study.load(spec_file())
    assert [r.id for r in loaded.plan().replicates] == [r.id for r in trained.plan.replicates]
