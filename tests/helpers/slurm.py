"""A Slurm of one node on this machine, beside any other; its daemons are Debian's."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.helpers.ports import free_port

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
_UP_SECONDS = 60.0
_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
KillWait=30
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 Gres=gpu:2
PartitionName=all Nodes=ALL Default=YES State=UP
"""
#: Files that are always there stand in for the devices.
_PRETENDED = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"


def is_here() -> bool:
    """Whether the daemons are installed, and may be started."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    return os.getuid() == 0 and all(shutil.which(name, path=path) for name in NEEDED)


@contextmanager
def slurm() -> Iterator[Mapping[str, str]]:
    """Start it; gives the environment in which commands find it. It ends with the context."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm")))
        for name in ("state", "spool"):
            (folder / name).mkdir()
        text = _CONFIGURATION.format(
            host=socket.gethostname(), folder=folder, controller=free_port(), node=free_port()
        )
        (folder / "slurm.conf").write_text(text)
        (folder / "gres.conf").write_text(_PRETENDED)
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        found = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        environment = found | {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{os.environ['PATH']}:/usr/sbin",
        }
        munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        commands = (
            ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munge],
            ["slurmctld", "-D", "-i"],
            ["slurmd", "-D"],
        )
        for command in commands:
            with (folder / f"{command[0]}.out").open("w") as out:
                daemon = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
            stack.callback(daemon.wait)
            stack.callback(daemon.terminate)
            time.sleep(1)
        _wait(folder, environment)
        yield environment


def _wait(folder: Path, environment: Mapping[str, str]) -> None:
    deadline, said = time.monotonic() + _UP_SECONDS, ""
    while "idle" not in said:
        logs = "\n".join(path.read_text() for path in folder.glob("*.out"))
        assert time.monotonic() < deadline, f"{said}\n{logs}"
        time.sleep(0.5)
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
