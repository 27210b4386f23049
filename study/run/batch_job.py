"""The job of a batch system in which this process runs, which starts processes again."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

#: Variables with its number, the same in all tasks of an array and after a requeue: of Slurm (the
#: array's before that of one task), PBS, LSF and Grid Engine.
_VARIABLES = ("SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")


def workers_run(environment: Mapping[str, str] = os.environ) -> str:
    """The run to which starts by `archprior work` count: that of its job, or one of all workers.

    A process that dies of a replicate is followed by another, which knows of it thereby.
    """
    return job_run(environment) or "work"


def job_run(environment: Mapping[str, str] = os.environ) -> str | None:
    """The run of processes of this job that train by themselves; None outside of jobs."""
    found = next((environment[name] for name in _VARIABLES if environment.get(name)), "")
    # PBS: `123[4].server` is task 4 of array 123.
    number = re.match(r"\w*", found)
    return f"work-{number[0]}" if number and number[0] else None
