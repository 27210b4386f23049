"""Modules of a user: what is read, what enters ids, what is refused, and what workers import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import trainers
from tests.helpers.conditions import guidance_of
from trainers.architectures import ARCHITECTURES
from trainers.comparison import stored
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guide
from trainers.conditions.ids import identity, replicate_id
from trainers.conditions.training import TrainSettings
from trainers.distances import DISTANCES
from trainers.extensions import user_modules
from trainers.extensions.code_digest import ForeignCodeError
from trainers.extensions.registries import REGISTRIES
from trainers.extensions.user_modules import ImportsError, load, payloads, read, require
from trainers.messages import silent
from trainers.store.store import Store
from trainers.tasks import TASKS

pytestmark = pytest.mark.usefixtures("no_imports")

ROOT = Path(__file__).parents[3]
#: An architecture that is fcn under another name.
NETWORK = """
from trainers.architectures import register
from trainers.architectures.fcn import FullyConnected

@register("{name}", inputs=("image",))
class Mine(FullyConnected):
    "A network of mine."
    def __init__(self, input, output, *, width: int = {width}):
        super().__init__(input.shape[-1] ** 2, output.num_classes, 1, width, "none", 0.0)
"""
DISTANCE = """
from trainers.distances import Distance, register

@register("my_distance", invariances=(), cost="n p", source="here", bias="none")
class Mine(Distance):
    "A distance of mine."
    def forward(self, target, guide):
        return (target.mean((-2, -1)) - guide.mean((-2, -1))).square()
"""


def write(path: Path, name: str = "my_net", width: int = 8, more: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(NETWORK.format(name=name, width=width) + more)
    return path


def baseline(target: str, **options: Any) -> Condition:
    return Condition(
        task=TASKS.component("translated_digits", places=1),
        target=ARCHITECTURES.component(target, **options),
        train=TrainSettings(steps=2, batch_size=20),
    )


def test_entries_say_which_module_they_are_from(tmp_path: Path) -> None:
    (module,) = load([write(tmp_path / "mine.py")])
    assert ARCHITECTURES["my_net"].origin == ("mine", module.digest)
    assert ARCHITECTURES["fcn"].origin is None
    assert ARCHITECTURES["my_net"].summary == "A network of mine."


def test_the_digest_enters_the_ids_of_what_uses_it_and_no_others(tmp_path: Path) -> None:
    before = replicate_id(baseline("fcn"), 0)
    (tmp_path / "metric.py").write_text(DISTANCE)
    net, metric = load([write(tmp_path / "mine.py"), tmp_path / "metric.py"])
    assert replicate_id(baseline("fcn"), 0) == before
    content = identity(baseline("my_net"))
    assert content["target"]["imports"] == net.digest
    assert "imports" not in content["task"]
    guided = Condition(
        task=baseline("fcn").task, target=baseline("fcn").target,
        train=TrainSettings(steps=2),
        treatment=guidance_of(
            guide=Guide(
                architecture=ARCHITECTURES.component("my_net"), state="untrained",
                batch_norm="calibrated",
            ),
            distance=DISTANCES.component("my_distance"),
        ),
    )  # fmt: skip
    content = identity(guided)
    assert content["guidance"]["distance"]["imports"] == metric.digest
    assert content["guidance"]["guide"]["architecture"]["imports"] == net.digest
    assert "imports" not in content["target"]
    old = replicate_id(baseline("my_net"), 0), replicate_id(guided, 0)
    load([write(tmp_path / "mine.py", more="# nothing\n"), tmp_path / "metric.py"])
    assert replicate_id(baseline("my_net"), 0) != old[0]
    assert replicate_id(guided, 0) != old[1]
    assert replicate_id(baseline("fcn"), 0) == before


def test_an_edited_module_is_imported_anew(tmp_path: Path) -> None:
    """Also within the second and at the same size, by which Python tells old bytecode."""
    for width in (8, 9, 8):
        path = write(tmp_path / "mine.py", width=width)
        os.utime(path, (1e9, 1e9))
        load([path])
        assert ARCHITECTURES["my_net"].defaults == {"width": width}
    assert sys.modules["mine"].__file__ == str(path)
    assert not list(tmp_path.rglob("*.pyc"))


def test_what_is_as_it_was_is_not_imported_again(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py")
    load([path])
    before = ARCHITECTURES["my_net"].factory
    load([path])
    assert ARCHITECTURES["my_net"].factory is before


def test_an_entry_that_is_no_longer_registered_is_gone(tmp_path: Path) -> None:
    load([write(tmp_path / "mine.py", "old_net")])
    load([write(tmp_path / "mine.py", "new_net")])
    assert "new_net" in ARCHITECTURES.names()
    assert "old_net" not in ARCHITECTURES.names()


def test_a_digest_covers_the_modules_that_are_imported(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    base = tmp_path / "one" / "base_part.py"
    base.write_text("WIDTH = 3\n")
    package = tmp_path / "other" / "pack"
    write(package / "inner" / "net.py", "my_net", more="from base_part import WIDTH\n")
    (package / "inner" / "__init__.py").write_text("")
    (package / "__init__.py").write_text("from .inner import net\nWIDTH = net.WIDTH\n")
    alone = write(tmp_path / "alone.py", "alone_net")
    paths = [package, base, alone]

    def digests() -> list[str]:
        return [module.digest for module in load(paths)]

    first = digests()
    assert sys.modules["pack"].WIDTH == 3
    assert ARCHITECTURES["my_net"].origin == ("pack", first[0])
    base.write_text("WIDTH = 4\n")
    second = digests()
    assert [a == b for a, b in zip(first, second, strict=True)] == [False, False, True]
    assert sys.modules["pack"].WIDTH == 4
    (package / "unused.py").write_text("")
    assert [a == b for a, b in zip(second, digests(), strict=True)] == [False, True, True]
    (package / "notes.txt").write_text("no code")
    (package / ".hidden").mkdir()
    (package / ".hidden" / "part.py").write_text("")
    (package / "unused.py").unlink()
    assert digests() == second


def test_a_digest_does_not_depend_on_the_place(tmp_path: Path) -> None:
    here, there = (read([write(tmp_path / at / "mine.py")])[0] for at in ("a", "b"))
    assert here.digest == there.digest


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("missing.py", None, "no such file or folder; give a .py file or a package folder"),
        ("notes.txt", "", "give a .py file or a package folder"),
        ("empty/", None, "a folder without __init__.py"),
        ("my-net.py", "", "'my-net' is no name of a module"),
        ("class.py", "", "'class' is no name of a module"),
        ("__main__.py", "", "is no name of a module"),
        ("json.py", "", "the name 'json' is that of a standard module"),
        ("trainers.py", "", "the name 'trainers' is that of a module of archprior"),
        ("torch.py", "", "the name 'torch' is that of the module at .*torch"),
        ("sklearn/__init__.py", "", "the name 'sklearn' is that of the module at .*sklearn"),
        ("latin.py", b"# \xe9", "utf-8"),
        ("broken.py", "a = 1\ndef f(:\n", r"SyntaxError: invalid syntax .*line 2"),
        ("fails.py", "a = 1\na / 0\n", "fails.py: line 2: ZeroDivisionError"),
        ("leaves.py", "import sys\nsys.exit(3)\n", "line 2: SystemExit: 3"),
        ("needs.py", "import no_such_module\n", "No module named 'no_such_module'"),
        ("inner/__init__.py", "from inner import part\n", "cannot import name 'part'"),
        (
            "taken.py",
            NETWORK.format(name="fcn", width=8),
            "'fcn' is already registered by trainers.architectures.fcn.fcn",
        ),
        ("bare.py", NETWORK.format(name="x", width=8).replace(" = 8", ""), "'width' needs a def"),
        (
            "again.py",
            "from trainers.extensions import user_modules\nuser_modules.load([__file__])\n",
            "while .*again.py was imported it loaded a study",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, name: str, source: str | bytes | None, words: str) -> None:
    before = {registry.kind: registry.names() for registry in REGISTRIES.values()}
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if name.endswith("/"):
        path.mkdir()
    elif source is not None:
        path.write_bytes(source if isinstance(source, bytes) else source.encode())
    path = path.parent if path.name == "__init__.py" else path
    good = write(tmp_path / "good_one.py", "good_net")
    with pytest.raises(ImportsError, match=words) as caught:
        load([good, path])
    assert caught.value.index == 1
    assert str(path) in str(caught.value)
    assert {registry.kind: registry.names() for registry in REGISTRIES.values()} == before
    assert not {"good_one", "fails", "leaves"} & set(sys.modules)


def test_a_package_reads_the_files_that_lie_in_it(tmp_path: Path) -> None:
    """And `inspect` shows the source that runs, whatever is in the file by now."""
    (tmp_path / "pack").mkdir()
    part = tmp_path / "pack" / "__init__.py"
    part.write_text(
        "from importlib.resources import files\n"
        "TEXT = files('pack').joinpath('words.txt').read_text()\n"
    )
    (tmp_path / "pack" / "words.txt").write_text("of mine")
    load([tmp_path / "pack"])
    module = sys.modules["pack"]
    assert module.TEXT == "of mine"
    source = part.read_text()
    part.write_text("edited\n")
    assert module.__loader__.get_source("pack") == source
    assert module.__path__ == [str(tmp_path / "pack")]


def test_errors_in_a_package_say_where(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("from pack import part\n")
    (tmp_path / "pack" / "part.py").write_text("\nunknown_thing\n")
    with pytest.raises(ImportsError, match=r"part.py, line 2: NameError"):
        load([tmp_path / "pack"])


def test_two_modules_of_one_list_may_not_share_names(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one.py"), write(tmp_path / "two.py")
    with pytest.raises(ImportsError, match=r"two.py: .*'my_net' is already registered by one.Mine"):
        load([one, two])
    with pytest.raises(ImportsError, match="a module 'one' is there already"):
        load([one, write(tmp_path / "other" / "one.py", "other_net")])


def test_a_neighbour_that_is_imported_must_be_listed(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("WIDTH = 3\n")
    # Neither installed modules nor archprior's are neighbours, whatever lies there.
    (tmp_path / "math.py").write_text("")
    path = write(tmp_path / "mine.py", more="import helper, math, torch\n")
    with pytest.raises(ImportsError, match=r"imports helper, and helper.py lies beside it: add"):
        load([path])
    load([path, tmp_path / "helper.py"])
    assert sys.modules["mine"].helper.WIDTH == 3


def test_modules_of_another_study_give_way_and_come_back(tmp_path: Path) -> None:
    (one,) = load([write(tmp_path / "one.py", width=1)])
    (two,) = load([write(tmp_path / "two.py", width=2)])
    for module, width in ((one, 1), (two, 2), (one, 1)):
        user_modules.activate([module])
        assert ARCHITECTURES["my_net"].defaults == {"width": width}
        assert ARCHITECTURES["my_net"].origin == module.origin


def test_a_module_that_was_imported_by_hand_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "mine.py")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    __import__("mine")
    assert ARCHITECTURES["my_net"].origin is None
    (module,) = load([path])
    assert ARCHITECTURES["my_net"].origin == module.origin


def test_a_change_of_a_measure_is_not_answered_from_what_was_kept(tmp_path: Path) -> None:
    condition = baseline("fcn", depth=1)
    results = [
        trainers.train(condition, seed=seed, store=tmp_path, report=silent) for seed in (0, 1)
    ]
    ids = [result.replicate_id for result in results]
    source = "from trainers.measures import register\nfrom trainers.measures.rsa import RSA\n"
    source += '@register("my_measure", invariances=(), cost="", source="", bias="")\n'
    source += "class Mine(RSA):\n    pass\n"
    for more in ("", "# changed\n"):
        (tmp_path / "mine.py").write_text(source + more)
        load([tmp_path / "mine.py"])
        assert stored(tmp_path, *ids, measure="my_measure") is None
        rows = trainers.align(tmp_path, *ids, measure="my_measure")
        assert stored(tmp_path, *ids, measure="my_measure") == rows


def in_a_worker(sent: list[dict[str, Any]], *paths: Path) -> str:
    """What a fresh process says that requires what a driver sent."""
    code = (
        "import json, sys\nfrom trainers.extensions import code_digest, user_modules\n"
        "try:\n    user_modules.require(json.loads(sys.argv[1]))\n"
        "except code_digest.ForeignCodeError as error:\n    print(error)\n"
        "else:\n    from trainers.architectures import ARCHITECTURES\n"
        "    print(ARCHITECTURES['my_net'].defaults, ARCHITECTURES['my_net'].origin.digest)\n"
    )
    where = os.pathsep.join(map(str, (ROOT, *paths)))
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(sent)],
        env=os.environ | {"PYTHONPATH": where, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.processes
def test_workers_import_what_the_driver_read(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py", width=8)
    modules = read([path])
    digest = modules[0].digest
    write(path, width=9)
    sent = payloads(modules, with_sources=True)
    assert in_a_worker(sent) == f"{{'width': 8}} {digest}"
    by_name = payloads(modules, with_sources=False)
    assert "would import another mine" in in_a_worker(by_name, tmp_path)
    assert "no module mine" in in_a_worker(by_name)
    write(path, width=8)
    assert in_a_worker(by_name, tmp_path) == f"{{'width': 8}} {digest}"


def test_sources_that_do_not_fit_their_digest_are_refused(tmp_path: Path) -> None:
    sent = payloads(read([write(tmp_path / "mine.py")]), with_sources=True)
    sent[0]["files"]["mine.py"] += "\n"
    with pytest.raises(ForeignCodeError, match="would import another mine"):
        require(sent)


def test_a_trained_network_needs_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, store = write(tmp_path / "mine.py"), tmp_path / "store"
    (module,) = load([path])
    condition = baseline("my_net")
    identifier = trainers.train(condition, store=store, report=silent).replicate_id
    trainers.train(baseline("fcn", depth=1, width=8), store=store, report=silent)
    described = Store(store).replicate(identifier).described()
    assert described["imports"] == {"mine": module.digest}
    assert trainers.load(store, identifier).taps
    load([write(path, more="# changed\n")])
    with pytest.warns(UserWarning, match=f"trained with mine .*{module.digest}"):
        trainers.load(store, identifier)
    user_modules.forget("mine")
    with pytest.raises(ValueError, match=rf"'my_net' is not known.*mine \(digest {module.digest}"):
        trainers.load(store, identifier)
    # Imported in the ordinary way it is known too.
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    __import__("mine")
    assert trainers.load(store, identifier).taps
    user_modules.forget("mine")


def test_what_imports_nothing_says_nothing_of_it(tmp_path: Path) -> None:
    identifier = trainers.train(
        baseline("fcn", depth=1), store=tmp_path, report=silent
    ).replicate_id
    assert "imports" not in Store(tmp_path).replicate(identifier).described()
