"""The job of a batch system in which this process runs, which starts processes again."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

#: Variables with its number, the same in all tasks of an array and after a requeue: of Slurm (the
#: array's before that of one task), PBS, LSF and Grid Engine.
_VARIABLES = ("SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")


def workers_run(environment: Mapping[str, str] = os.environ) -> str:
    """The run to which starts by `archprior work` count: one for all processes of a job.

    A process that dies of a replicate is followed by another, which knows of it thereby. Without a
    batch system all workers count as one run.
    """
    found = next((environment[name] for name in _VARIABLES if environment.get(name)), "")
    # PBS: `123[4].server` is task 4 of array 123.
    number = re.match(r"\w*", found)
    return f"work-{number[0]}" if number and number[0] else "work"
