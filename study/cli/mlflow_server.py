"""MLflow's server in this process, its pages in the mode of model training.

`mlflow server` starts a second process, which imports everything once more, and its pages begin in
the mode of language-model applications, whatever kind an experiment has.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

#: Set in a browser that has no choice of its own yet: the mode of model training, and no panel of
#: an assistant on the first visit. MLflow keeps both in these entries.
_SCRIPT = b"""<script>
for (const [key, value] of [["mlflow.workflowType_v1", '"machine_learning"'],
                            ["mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true"]])
  try { if (localStorage.getItem(key) === null) localStorage.setItem(key, value); } catch {}
</script>"""
_HEAD = b"<head>"
_CACHED = (b"if-none-match", b"if-modified-since")
_OF_ONE_PAGE = (b"content-length", b"etag", b"last-modified", b"cache-control")
_LOOK_SECONDS = 0.1
#: Longest wait for requests that are being answered, when a signal has come.
_END_SECONDS = 3


class TrainingMode:
    """A web application whose first page sets the mode of model training in new browsers."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        start: Message = {}
        body = b""

        async def collect(message: Message) -> None:
            nonlocal body
            if message["type"] == "http.response.start":
                start.update(message)
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            page = body.replace(_HEAD, _HEAD + _SCRIPT, 1)
            headers = [(k, v) for k, v in start["headers"] if k.lower() not in _OF_ONE_PAGE]
            length = str(len(page)).encode()
            headers += [(b"content-length", length), (b"cache-control", b"no-cache")]
            await send({**start, "headers": headers})
            await send({"type": "http.response.body", "body": page})

        kept = [(k, v) for k, v in scope["headers"] if k.lower() not in _CACHED]
        await self._app({**scope, "headers": kept}, receive, collect)


def serve(uri: str, artifacts: str, host: str, port: int, when_up: Callable[[], object]) -> None:
    """Serve a database, and artifacts below a URI, until a signal comes; one worker.

    `when_up` is called, in a thread, once the server answers. A signal is raised again at the end.
    """
    # Deprecations inside MLflow's own libraries.
    warnings.simplefilter("ignore")
    # Its runners of jobs, which nothing of ours has, are seven processes more.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    # Nothing is sent to anybody unless the user asks for it.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import uvicorn
    from mlflow.server import constants, handlers

    # As `mlflow server` passes them to its workers.
    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: uri,
        constants.REGISTRY_STORE_URI_ENV_VAR: uri,
        constants.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
        # For experiments that are made in the UI; MLflow's default is the current folder.
        constants.ARTIFACTS_DESTINATION_ENV_VAR: artifacts,
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
    }
    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        logging.getLogger("mlflow").setLevel(logging.WARNING)
    handlers.initialize_backend_stores(uri, uri, "mlflow-artifacts:/")
    from mlflow.server.fastapi_app import app

    server = uvicorn.Server(
        uvicorn.Config(
            TrainingMode(app), host=host, port=port, log_level="warning", access_log=False,
            timeout_graceful_shutdown=_END_SECONDS,
        )
    )  # fmt: skip
    threading.Thread(target=_announce, args=(server, when_up), daemon=True).start()
    server.run()


def _announce(server: Any, when_up: Callable[[], object]) -> None:
    while not server.started:
        if server.should_exit:
            return
        time.sleep(_LOOK_SECONDS)
    when_up()
