"""Store and MLflow of a job: both must mean the same on another machine, and hold no secret."""

from __future__ import annotations

from urllib.parse import urlsplit

from study.errors import SpecError
from trainers.secrets import holds_secret

#: Names of MLflow's servers that are no addresses.
_HOSTED = ("databricks", "databricks-uc", "uc")


def check_places(store: str, tracking_uri: str | None) -> None:
    """Raise SpecError where `--store` or `--tracking-uri` cannot be meant for another machine."""
    for option, uri in (("--store", store), ("--tracking-uri", tracking_uri or "")):
        _check_form(option, uri)
    if _is_relative(store):
        raise SpecError(
            f"--store: {store!r} is relative to a folder of this machine; give a path that all "
            "nodes share (/shared/store), or a bucket (s3://...)"
        )
    if tracking_uri is not None and _is_relative(tracking_uri):
        raise SpecError(
            f"--tracking-uri: {tracking_uri!r} is relative to a folder of the job that is removed "
            "after it; name a server (http://...), or an absolute path (sqlite:////...)"
        )


def _check_form(option: str, uri: str) -> None:
    try:
        urlsplit(uri)
    except ValueError as error:
        raise SpecError(f"{option}: {uri!r} is no URI: {error}") from error
    if holds_secret(uri):
        raise SpecError(
            f"{option}: it holds a secret, which Ray's dashboard would show to all: leave it "
            "out, and give it to the nodes (for MLflow: MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD on the head)"
        )


def _is_relative(uri: str) -> bool:
    """Whether it is a path from the current folder, as such, as a file's URI, or as sqlite's."""
    parts = urlsplit(uri)
    if parts.scheme.startswith("sqlite"):
        return not uri.partition("://")[2].startswith("//")
    is_path = parts.scheme in ("", "file") and uri not in _HOSTED
    return is_path and not parts.path.startswith("/")
