"""The run to which the starts of workers count, by the variables of batch systems."""

from __future__ import annotations

import pytest

from study.run.batch_job import job_run, workers_run


@pytest.mark.parametrize(
    ("variables", "run"),
    [
        ({}, "work"),
        ({"SLURM_JOB_ID": "17"}, "work-17"),
        # Each task of an array has an id of its own.
        ({"SLURM_JOB_ID": "19", "SLURM_ARRAY_JOB_ID": "17"}, "work-17"),
        ({"PBS_JOBID": "123[4].head.lab"}, "work-123"),
        ({"LSB_JOBID": "55"}, "work-55"),
        ({"JOB_ID": ""}, "work"),
        ({"JOB_ID": "../up"}, "work"),
    ],
)
def test_all_processes_of_a_job_are_one_run(variables: dict[str, str], run: str) -> None:
    assert workers_run(variables) == run
    assert job_run(variables) == (None if run == "work" else run)
