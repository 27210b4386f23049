"""What a command line takes: time, memory and calls of MLflow, in a process of its own.

`peak_mb` is the memory of that process alone, `peak_apart_mb` that of the one that makes its
tables, if there is one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

#: Runs a command line in this process, and prints what it took as the last line.
_MEASURED = """
import json, resource, sys, threading, time
import psutil
began = time.perf_counter()
apart = [0]
def watch():
    while True:
        for each in psutil.Process().children():
            try:
                if "study.run.table_process" in each.cmdline():
                    apart[0] = max(apart[0], each.memory_info().rss)
            except psutil.Error:
                pass
        time.sleep(0.2)
threading.Thread(target=watch, daemon=True).start()
calls, depth = [0], [0]
def counted(function):
    def call(*arguments, **options):
        calls[0] += depth[0] == 0
        depth[0] += 1
        try:
            return function(*arguments, **options)
        finally:
            depth[0] -= 1
    return call
if sys.argv[1] == "http":
    from requests.adapters import HTTPAdapter
    HTTPAdapter.send = counted(HTTPAdapter.send)
elif sys.argv[1] == "client":
    from mlflow import MlflowClient
    for name, method in vars(MlflowClient).items():
        if callable(method) and not name.startswith("_"):
            setattr(MlflowClient, name, counted(method))
from study.cli.app import main
status = 0
try:
    sys.argv = ["archprior", *sys.argv[2:]]
    main()
except SystemExit as ended:
    status = ended.code or 0
with open("/proc/self/status") as told:
    # Not ru_maxrss, which has that of the process before it became this one.
    peak = next(float(line.split()[1]) for line in told if line.startswith("VmHWM"))
kinds = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({
    "exit": status,
    "cpu_s": sum(used.ru_utime + used.ru_stime for used in kinds),
    "wall_s": time.perf_counter() - began,
    "peak_mb": peak / 1e3,
    "peak_apart_mb": apart[0] / 1e6,
    "mlflow_calls": calls[0],
}))
"""


def command(store: Path, kind: str, *arguments: str, uri: str | None = None) -> dict[str, float]:
    """Run a command line on a store; what it took."""
    places = ["--store", str(store)] + ([] if uri is None else ["--tracking-uri", uri])
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, kind, *arguments, *places],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise RuntimeError(f"{arguments}: {done.stdout}{done.stderr}") from None
    if found.pop("exit"):
        raise RuntimeError(f"{arguments}: {done.stdout}{done.stderr}")
    return found
