"""Studies as jobs of a Ray cluster: submitted, listed, followed, stopped, by the study's name."""

from __future__ import annotations

import itertools
import json
import logging
import os
import shlex
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from analysis.hints import command as shown_command
from study.cluster.places import check_places
from study.cluster.staging import SPEC_FILE, stage
from study.errors import RunError, SpecError
from study.run.interrupts import GRACE_SECONDS
from study.run.provenance import GIT_FACTS, git_facts
from study.run.ray_session import no_answer, public_variables
from study.study import Study
from trainers.trial.ray_worker import WORKER_ENVIRONMENT

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

#: Where Ray's dashboard, which takes jobs, listens by default.
DASHBOARD = "http://127.0.0.1:8265"
_ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
_STUDY, _STORE = "archprior_study", "archprior_store"
_GRACE = "--grace"
#: Command of a job; the options of `submit` follow.
_RUN = ("python", "-m", "study", "run", SPEC_FILE, "--address", "auto")
#: Seconds that a job has, after workers have gone on to a checkpoint, before Ray kills it.
_LAST_SECONDS = 60
_POLL_SECONDS = 0.5
#: Seconds to connect to a dashboard, and for its answer.
_ANSWER_SECONDS = 4.0
#: Variables that mean the same on another machine and are no secrets. Places of data and caches are
#: those of the nodes.
_SENT = (
    "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION",
    "MLFLOW_TRACKING_INSECURE_TLS",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job of a study: `status` is Ray's, such as RUNNING; `started` in seconds since 1970.

    `options` are those of `archprior submit` that it was given, other than the address.
    """

    id: str
    study: str
    store: str
    status: str
    message: str
    options: tuple[str, ...]
    started: float | None

    @property
    def is_over(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.status in ("SUCCEEDED", "FAILED", "STOPPED")

    @property
    def grace(self) -> int:
        """Seconds for which its workers go on to a checkpoint when it is stopped."""
        given = dict(itertools.pairwise(self.options))
        return int(given.get(_GRACE, GRACE_SECONDS))


class Jobs:
    """The jobs of the Ray cluster whose dashboard is at `address`.

    Without an address it is that of RAY_API_SERVER_ADDRESS, or this machine's. Raises SpecError
    where it cannot be the address of a dashboard, or none answers there.
    """

    def __init__(self, address: str | None = None) -> None:
        self.address = _at(address)
        with self._answering():
            _ask(self.address)
            from ray.job_submission import JobSubmissionClient

            # It tells of each package that travels.
            logging.getLogger("ray.dashboard").setLevel(logging.WARNING)
            logging.getLogger("ray._private").setLevel(logging.WARNING)
            self._client: JobSubmissionClient = JobSubmissionClient(self.address)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Raise errors of reaching the cluster as SpecError, and its own as RunError."""
        from ray.exceptions import AuthenticationError, RpcError

        try:
            yield
        except (AuthenticationError, OSError, RpcError) as error:
            raise SpecError(f"--address: {self.address}: {no_answer(error)}") from error
        except RuntimeError as error:
            # Ray's client raises bare ones for whatever the cluster answers but "done".
            raise RunError(f"{self.address}: {' '.join(str(error).split())}") from error

    def submit(
        self,
        study: Study,
        *,
        store: str,
        tracking_uri: str | None,
        wait: float | None = None,
        grace: int = GRACE_SECONDS,
    ) -> Job:
        """Start `archprior run` of a study on the cluster's head; returns its job.

        `store` and `tracking_uri` are as nodes see them, `wait` is in minutes, `grace` in seconds.
        Raises SpecError where they cannot be meant for another machine, and RunError where a job of
        the study is at work already.
        """
        check_places(store, tracking_uri)
        busy = [job for job in self.of(study.name) if not job.is_over and job.store == store]
        if busy:
            at = [] if self.address == _at(None) else ["--address", self.address]
            see, stop = (shown_command("jobs", name, study.name, *at) for name in ("logs", "stop"))
            raise RunError(
                f"{study.name}: job {busy[-1].id} is {busy[-1].status.lower()}: see {see}, or "
                f"stop it with {stop}"
            )
        command = [*_RUN, "--store", store]
        command += [] if tracking_uri is None else ["--tracking-uri", tracking_uri]
        command += [] if wait is None else ["--wait", f"{wait:g}"]
        command += [] if grace == GRACE_SECONDS else [_GRACE, str(grace)]
        with tempfile.TemporaryDirectory(prefix="archprior-job-") as folder:
            stage(study, Path(folder))
            with self._answering():
                identifier = self._client.submit_job(
                    entrypoint=shlex.join(command),
                    submission_id=f"{study.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}",
                    metadata={_STUDY: study.name, _STORE: store},
                    runtime_env={"working_dir": folder, "env_vars": _variables(grace)},
                )
        return self.get(identifier)

    def all(self) -> list[Job]:
        """Jobs of all studies, the oldest first."""
        with self._answering():
            found = [_job(each) for each in self._client.list_jobs()]
        return sorted((job for job in found if job.study), key=lambda job: job.started or 0)

    def of(self, study: str) -> list[Job]:
        """Jobs of a study, the oldest first."""
        return [job for job in self.all() if job.study == study]

    def last(self, study: str) -> Job:
        """The newest job of a study; raises SpecError if there is none."""
        jobs = self.of(study)
        if not jobs:
            others = ", ".join(sorted({job.study for job in self.all()})) or "none"
            raise SpecError(f"STUDY: no job of {study!r} at {self.address}; there are: {others}")
        return jobs[-1]

    def logs(self, job: Job) -> str:
        """Output of a job so far."""
        with self._answering():
            text: str = self._client.get_job_logs(job.id)
        return text

    async def follow(self, job: Job) -> AsyncIterator[str]:
        """Parts of what a job prints, until it ends."""
        with self._answering():
            async for part in self._client.tail_job_logs(job.id):
                yield part

    def stop(self, job: Job) -> Job:
        """Stop a job: its workers go on to a checkpoint and return their leases. Waits for that.

        Raises RunError where it has not ended when Ray should have killed it.
        """
        with self._answering():
            self._client.stop_job(job.id)
        deadline = time.monotonic() + 1.25 * _stop_seconds(job.grace)
        while not (now := self.get(job.id)).is_over:
            if time.monotonic() > deadline:
                raise RunError(f"job {job.id} was told to stop, and is still {now.status.lower()}")
            time.sleep(_POLL_SECONDS)
        return now

    def get(self, identifier: str) -> Job:
        """A job as it stands now."""
        with self._answering():
            return _job(self._client.get_job_info(identifier))


def _at(address: str | None) -> str:
    """The URL of a dashboard: as given, else of the environment, else this machine's."""
    named = "--address" if address else _ADDRESS_VARIABLE
    given = address or os.environ.get(_ADDRESS_VARIABLE) or DASHBOARD
    url = given if "://" in given or given == "auto" else f"http://{given}"
    try:
        parts = urlsplit(url)
        is_dashboard = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_dashboard = False
    if not is_dashboard:
        raise SpecError(
            f"{named}: {given!r} is no dashboard of a cluster, which takes jobs: give its URL, "
            "such as http://HEAD:8265"
        )
    return url


def _ask(url: str) -> None:
    """Raise TimeoutError where a server is silent, for whose answer Ray's client has no limit."""
    import requests

    # Whatever else is wrong, Ray's client says it.
    with suppress(requests.exceptions.ConnectionError):
        try:
            requests.get(f"{url}/api/version", timeout=_ANSWER_SECONDS, stream=True).close()
        except requests.Timeout as error:
            raise TimeoutError(f"no answer in {_ANSWER_SECONDS:.0f} s") from error


def _job(details: JobDetails) -> Job:
    metadata = details.metadata or {}
    started = details.start_time
    study = metadata.get(_STUDY, "")
    words = shlex.split(details.entrypoint or "") if study else []
    return Job(
        id=details.submission_id or "",
        study=study,
        store=metadata.get(_STORE, ""),
        status=str(getattr(details.status, "value", details.status)),
        message=details.message or "",
        options=tuple(words[len(_RUN) :]),
        started=None if started is None else started / 1000,
    )


def _stop_seconds(grace: int) -> int:
    """Seconds between the word to a job to stop and its end by Ray."""
    return grace + _LAST_SECONDS


def _variables(grace: int) -> Mapping[str, Any]:
    """Environment of the job's driver and workers; raises SpecError where it holds a secret."""
    return {
        **WORKER_ENVIRONMENT,
        **public_variables(_SENT),
        GIT_FACTS: json.dumps(git_facts()),
        "RAY_JOB_STOP_WAIT_TIME_S": str(_stop_seconds(grace)),
        "PYTHONUNBUFFERED": "1",
    }
