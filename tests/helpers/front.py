"""A proxy before an MLflow server, which counts requests and may keep it from answering."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Request(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    body: bytes

    @property
    def is_upload(self) -> bool:
        """Whether it writes an artifact."""
        return self.method == "PUT" and "/mlflow-artifacts/" in self.path

    @property
    def call(self) -> str:
        """The end of the path: `runs/create` and the like."""
        return self.path.partition("?")[0].rpartition("/mlflow/")[2]

    @property
    def content(self) -> dict[str, Any]:
        """The JSON of the body; empty without one."""
        return {} if self.is_upload or not self.body else json.loads(self.body)


class Front(ThreadingHTTPServer):
    """What stands before an MLflow server, and may keep it from answering.

    From the `first` request that logs something, for `count` requests, it does as `fault` says:
    `refuse` closes the connection, `error` answers 500, `hang` does not answer, and `lose` passes
    the request on and loses the answer. `requests` are all that it got.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server, self.fault = server, "none"
        self.requests: list[Request] = []
        self.first, self.count, self.seen = 0, 0, 0
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def break_down(self, fault: str, first: int, count: int) -> None:
        self.fault, self.first, self.count, self.seen = fault, first, count, 0

    def fault_of(self, path: str) -> str:
        if not any(word in path for word in ("log-batch", "runs/create", "artifacts")):
            return "none"
        with self._lock:
            self.seen += 1
            broken = self.first < self.seen <= self.first + self.count
        return self.fault if broken else "none"


class _Handler(BaseHTTPRequestHandler):
    server: Front  # type: ignore[assignment]

    def _pass_on(self) -> None:
        fault = self.server.fault_of(self.path)
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        self.server.requests.append(Request(self.command, self.path, body))
        if fault == "hang":
            time.sleep(7)
        if fault in ("hang", "refuse"):
            self.close_connection = True
            return
        status, answer = (500, b"{}") if fault == "error" else self._ask(body)
        if fault == "lose":
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _ask(self, body: bytes) -> tuple[int, bytes]:
        request = urllib.request.Request(
            self.server.server + self.path, body or None, dict(self.headers), method=self.command
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815

    def log_message(self, *_arguments: Any) -> None:
        pass
