"""The key `imports`: from the spec's folder, in the words of the spec, and never from a store."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from study import Study
from study.run import status
from study.spec.read import SpecError, read
from tests.helpers.command_line import Archprior
from trainers.architectures import ARCHITECTURES
from trainers.extensions import user_modules
from trainers.store.lease import Lease
from trainers.store.store import Store

pytestmark = pytest.mark.usefixtures("no_imports")

NETWORK = """
from typing import Literal
from trainers.architectures import register
from trainers.architectures.fcn import fcn

@register("my_net", inputs=("image",))
def my_net(input, output, *, {options}):
    "A network of mine."
    {body}
    return fcn(input, output, depth=1, width=8)
"""
SPEC: dict[str, Any] = {
    "name": "mine",
    "imports": ["parts/my_net.py"],
    "task": {"name": "translated_digits", "places": 1},
    "targets": ["my_net"],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "controls": [],
    "states": ["untrained"],
    "seeds": 1,
    "train": {"steps": 2, "batch_size": 20},
}
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes the module and the spec that imports it; gives the spec's path."""

    def write(options: str = "width: int = 8", body: str = "", **changes: Any) -> Path:
        folder = tmp_path / "parts"
        folder.mkdir(exist_ok=True)
        (folder / "my_net.py").write_text(NETWORK.format(options=options, body=body))
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump(SPEC | changes))
        return path

    return write


def refusal(path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        Study.load(path)
    return str(caught.value)


def targets(study: Study) -> set[str]:
    return {planned.labels["target"] for planned in study.plan().conditions}


def test_a_mounted_config_map_is_a_folder_of_modules(make: Make, tmp_path: Path) -> None:
    """Kubernetes mounts links to the files of a hidden folder, which it replaces as a whole."""
    specs, hidden = tmp_path / "specs", tmp_path / "specs" / "..2026_11_30"
    hidden.mkdir(parents=True)
    make(imports=["my_net.py"]).rename(hidden / "spec.yaml")
    (tmp_path / "parts" / "my_net.py").rename(hidden / "my_net.py")
    (specs / "..data").symlink_to(hidden.name)
    for name in ("spec.yaml", "my_net.py"):
        (specs / name).symlink_to(Path("..data", name))
    assert "my_net" in targets(Study.load(specs / "spec.yaml"))


def test_paths_are_relative_to_the_spec_or_to_the_current_folder(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make()
    from_file = Study.load(path)
    assert "my_net" in targets(from_file)
    ids = [r.id for r in from_file.plan().replicates]
    with pytest.raises(SpecError, match=r"imports\[0\]: .*parts/my_net.py: no such file"):
        Study(**SPEC)
    monkeypatch.chdir(tmp_path)
    for given in (["parts/my_net.py"], [tmp_path / "parts" / "my_net.py"], "parts/my_net.py"):
        study = Study(**SPEC | {"imports": given})
        assert [r.id for r in study.plan().replicates] == ids


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"a": 1}, "imports[0]: give a path (got {'a': 1})"),
        ("parts/none.py", "imports[0]: "),
        ([3], r"imports[0]: give a path (got 3)"),
        (["parts/my_net.py", "parts/none.py"], "imports[1]: "),
        (["parts"], "a folder without __init__.py"),
    ],
)
def test_bad_lists_are_refused_in_the_words_of_the_spec(make: Make, given: Any, words: str) -> None:
    message = refusal(make(imports=given))
    assert words in message
    assert "my_net'" not in message, "names are not looked up where modules are not there"


def test_errors_of_the_module_name_it(make: Make, tmp_path: Path) -> None:
    path = make()
    (tmp_path / "parts" / "my_net.py").write_text("a = 1\nb = c\n")
    message = refusal(path)
    assert f"imports[0]: {tmp_path}/parts/my_net.py: line 2: NameError: name 'c'" in message


def test_options_are_checked_as_those_of_built_in_entries(make: Make) -> None:
    path = make("mode: Literal['a', 'b'] = 'a'", targets=[{"name": "my_net", "mode": "c"}])
    assert "targets[0].mode" in refusal(path)
    assert "did you mean 'mode'?" in refusal(
        make(targets=[{"name": "my_net", "mod": 3}], options="mode: int = 1")
    )
    refuses = make(body="if width < 1: raise ValueError(f'my_net: width {width}')",
                   targets=[{"name": "my_net", "width": 0}])  # fmt: skip
    with pytest.raises(SpecError, match="my_net: width 0"):
        Study.load(refuses).plan()


def test_after_an_edit_the_next_study_has_the_new_options_and_the_old_one_the_old(
    make: Make,
) -> None:
    old = Study.load(make("width: int = 8", targets=[{"name": "my_net", "width": 4}]))
    before = [r.id for r in old.plan().replicates]
    new = Study.load(make("depth: int = 8", targets=[{"name": "my_net", "depth": 4}]))
    assert "my_net(depth=4)" in targets(new)
    assert "targets[0].width: unknown key" in refusal(
        make("depth: int = 8", targets=[{"name": "my_net", "width": 4}])
    )
    assert "my_net(width=4)" in targets(old)
    assert [r.id for r in old.plan().replicates] == before
    assert {r.id for r in new.plan().replicates}.isdisjoint(
        r.id for r in old.plan().replicates if r.condition.role != "guide"
    )


def test_a_spec_names_what_it_imports_itself(make: Make) -> None:
    Study.load(make())
    assert "my_net" in ARCHITECTURES.names()
    message = refusal(make(imports=[]))
    assert "targets[0]: 'my_net' is of the module my_net, which is not in imports" in message


def test_a_spec_that_is_data_imports_nothing(make: Make, tmp_path: Path) -> None:
    make(body="raise SystemExit", imports=[str(tmp_path / "parts" / "my_net.py")])
    with pytest.raises(SpecError, match="unknown architecture 'my_net'"):
        read(SPEC)
    assert "my_net" not in sys.modules


def told(result: tuple[int, str, str]) -> tuple[int, str]:
    """Exit status of a command, and all that it said."""
    code, out, err = result
    return code, out + err


def test_list_shows_them(archprior: Archprior, make: Make) -> None:
    module = make().parent / "parts" / "my_net.py"
    code, out = told(archprior("list", "architectures", "--imports", module))
    assert (code, "my_net" in out, "A network of mine." in out) == (0, True, True)
    code, out = told(archprior("list", "taps", "my_net", "--imports", module))
    assert (code, "on translated_digits: hidden.layer1" in out) == (0, True)
    code, out = told(archprior("list", "architectures", "--imports", module.with_name("none.py")))
    assert (code, "--imports[0]: " in out) == (2, True)


@pytest.fixture
def gone(make: Make, tmp_path: Path, database: str) -> tuple[Study, Path]:
    """A study that was run, one of its replicates to do again, and its module not there."""
    study, store = Study.load(make()), tmp_path / "store"
    assert study.run(store=store, tracking_uri=database, local=True).complete
    study.plan()
    (tmp_path / "parts" / "my_net.py").unlink()
    user_modules.forget("my_net")
    return study, store


@pytest.mark.processes
def test_what_is_in_a_store_is_read_without_the_module(
    gone: tuple[Study, Path], database: str, archprior: Archprior
) -> None:
    study, store = gone
    folder = store / "studies" / "mine"
    replicates = pd.read_parquet(folder / "replicates.parquet")
    assert set(replicates["target"]) == {"my_net", "resnet2d(blocks=1,width=2)"}
    kept = list((folder / "imports").glob("my_net-*/my_net.py"))
    assert len(kept) == 1
    assert "my_net" in kept[0].read_text()
    guided = replicates[replicates["role"] == "guided"].iloc[0]
    Store(store).replicate(guided["replicate_id"]).folder.remove("result.json")
    with Lease(Store(store).replicate(guided["replicate_id"]).folder):
        found = status.load("mine", Store(store))
    (running,) = found.running
    assert running.num_steps == 2
    code, out = told(archprior("status", "mine", "--store", store))
    assert code == 0
    assert "study mine: 3 replicates: 2 finished, 1 to train" in out
    code, out = told(archprior("analyze", "mine", "--store", store, "--tracking-uri", database))
    assert (code, "my_net <- resnet2d" in out) == (0, True)
    assert "my_net" not in sys.modules
    # The study itself goes on with what it has read.
    assert study.run(store=store, tracking_uri=database, local=True).complete
