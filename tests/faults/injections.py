"""The faults of the campaign: what is done to a study in mid-training, by name."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults.grounds import Ground, InBucket, Local, OnRay, WithServer
from tests.faults.study_in_hand import StudyInHand, TooLateError
from tests.helpers import jumping_clock
from tests.helpers.small_disk import can_mount, fill

Inject = Callable[[StudyInHand, random.Random], None]


@dataclass(frozen=True)
class Fault:
    """A kind of fault: where it may happen, and what does it.

    `inject` is called while the study's command runs. `lacks` says why this machine cannot have it.
    """

    name: str
    grounds: tuple[type[Ground], ...]
    inject: Inject
    lacks: str | None = None


def kill(kind: str, study: StudyInHand, draw: random.Random) -> None:
    """kill -9."""
    if not study.driver.kill(kind):
        raise TooLateError
    if kind == "driver":
        study.driver.process.wait()


def ask_to_end(study: StudyInHand, draw: random.Random) -> None:
    """As a batch system does before it kills."""
    study.driver.process.send_signal(signal.SIGTERM)
    assert study.driver.wait() in (0, 128 + signal.SIGTERM), study.ground.said()


def second_driver(study: StudyInHand, draw: random.Random) -> None:
    """Two that go on with one study at the same moment: one is refused."""
    kill("driver", study, draw)
    drivers = [study.start(), study.start()]
    study.num_runs -= 1
    while all(driver.process.poll() is None for driver in drivers):
        time.sleep(0.1)
    first, second = sorted(drivers, key=lambda driver: driver.process.poll() is None)
    study.driver = second
    if first.process.returncode == 0:
        # It was done before the other had looked.
        assert second.wait() in (0, 2), study.ground.said()
        raise TooLateError
    assert first.process.returncode == 2, study.ground.said()
    assert "is at work on" in first.log.read_text().splitlines()[-1], study.ground.said()


def full_disk(study: StudyInHand, draw: random.Random) -> None:
    """Until the study has stopped, which it must say."""
    filler = fill(Path(study.ground.store))
    status, said = study.driver.wait(), study.driver.log.read_text()
    filler.unlink()
    if status == 0:
        raise TooLateError
    assert status in (1, 2), study.ground.said()
    # The second is what MLflow's database says.
    assert "No space left" in said or "disk is full" in said, study.ground.said()


def jump(study: StudyInHand, draw: random.Random) -> None:
    """The clock of the machine is put forward or back, and stays so."""
    assert isinstance(study.ground, Local)
    assert study.ground.clock is not None
    study.ground.clock.jump(draw.choice([-86_400, -3600, -100, -2, 2, 100, 3600, 86_400]))


def out_of_memory(study: StudyInHand, draw: random.Random) -> None:
    """In one step of one trial."""
    study.may_fail = True
    study.ground.hunger.touch()
    while study.ground.hunger.exists():
        if study.driver.process.poll() is not None:
            study.ground.hunger.unlink(missing_ok=True)
            raise TooLateError
        study.driver.below()
        time.sleep(0.1)


def mlflow_killed(study: StudyInHand, draw: random.Random) -> None:
    """It is started again on its data after a while."""
    assert isinstance(study.ground, WithServer)
    study.ground.server.kill()
    time.sleep(draw.uniform(0, 10))
    study.ground.server.start()


def bucket_away(study: StudyInHand, draw: random.Random) -> None:
    """For less than is waited for."""
    assert isinstance(study.ground, InBucket)
    study.ground.bucket.leave()
    time.sleep(draw.uniform(0, InBucket.SECONDS / 2))
    study.ground.bucket.come()


def bucket_gone(study: StudyInHand, draw: random.Random) -> None:
    """Until the run has ended, which it must by itself."""
    assert isinstance(study.ground, InBucket)
    study.ground.bucket.leave()
    try:
        status = study.driver.wait()
    finally:
        study.ground.bucket.come()
    if status == 0:
        raise TooLateError
    assert status == 1, study.ground.said()


def answers_go_wrong(study: StudyInHand, draw: random.Random) -> None:
    """One of twenty, from now on."""
    assert isinstance(study.ground, InBucket)
    study.ground.front.break_down(0.05)


#: Files that a study writes for itself; those below `mlflow-artifacts` are MLflow's.
_DAMAGED = ("replicates", "alignments", "guide_cache", "studies", "mlflow.db")


def damaged_file(study: StudyInHand, draw: random.Random) -> None:
    """A file of a drawn kind, while no process runs."""
    kill("driver", study, draw)
    store = Path(study.ground.store)
    files = [path for name in _DAMAGED for path in [store / name, *(store / name).rglob("*")]]
    kinds: dict[str, list[Path]] = {}
    for path in sorted(path for path in files if path.is_file()):
        kinds.setdefault("N.pt" if path.suffix == ".pt" else path.name, []).append(path)
    kind = draw.choice(sorted(kinds))
    path = draw.choice(kinds[kind])
    # A page of a database that another byte is in, is a database still.
    ways = ["truncated", "empty", "strange", "missing", *(["changed"] * (kind != "mlflow.db"))]
    way = draw.choice(ways)
    _damage(path, way, draw)
    print(f"    {way}: {path.relative_to(store)}", flush=True)
    if path.is_relative_to(store / "replicates"):
        study.excused.add(path.relative_to(store / "replicates").parts[0])


def _damage(path: Path, way: str, draw: random.Random) -> None:
    if way == "missing":
        path.unlink()
        return
    content = path.read_bytes() or b"x"
    at = draw.randrange(len(content))
    changed = content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]
    contents = {"truncated": content[:at], "empty": b"", "strange": b"\xff\xfe", "changed": changed}
    path.write_bytes(contents[way])


_NO_MOUNT = None if can_mount() else "this process may not mount a small disk"
_NO_COMPILER = None if jumping_clock.can_jump() else "there is no compiler of C"

FAULTS = (
    Fault("driver killed", (Local, OnRay, WithServer, InBucket), partial(kill, "driver")),
    Fault("driver asked to end (SIGTERM)", (Local, OnRay), ask_to_end),
    Fault("trial killed", (OnRay,), partial(kill, "trial")),
    Fault("controller killed", (OnRay,), partial(kill, "controller")),
    Fault("worker killed", (OnRay,), partial(kill, "worker")),
    Fault("raylet killed", (OnRay,), partial(kill, "raylet")),
    Fault("MLflow server killed", (WithServer,), mlflow_killed),
    Fault("S3 server away, and back in time", (InBucket,), bucket_away),
    Fault("S3 server away for too long", (InBucket,), bucket_gone),
    Fault("answers of the S3 server go wrong", (InBucket,), answers_go_wrong),
    Fault("disk full", (Local,), full_disk, lacks=_NO_MOUNT),
    Fault("file damaged", (Local,), damaged_file),
    Fault("two drivers", (Local,), second_driver),
    Fault("clock jumps", (Local,), jump, lacks=_NO_COMPILER),
    Fault("out of memory in a trial", (Local, OnRay), out_of_memory),
)
