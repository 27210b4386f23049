"""Proxies before a server of MLflow or S3, which may keep it from answering."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
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


#: Statuses of faults that are answers.
_STATUSES = {"error": 500, "unavailable": 503}


class Answer(NamedTuple):
    """An answer as the server gave it."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


class Proxy(ThreadingHTTPServer):
    """What stands before a server, and may keep it from answering.

    What happens to a request is what `fault_of` gives: `none`; `refuse` closes the connection,
    `error` answers 500 and `unavailable` 503, `hang` does not answer, `slow` answers late, `lose`
    passes the request on and loses the answer, `truncate` sends half of it.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = server.removeprefix("http://")
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fault_of(self, request: Request) -> str:
        raise NotImplementedError

    def failure(self, status: int) -> Answer:
        """What such a server answers when it fails."""
        return Answer(status, [("Content-Type", "application/json")], b"{}")

    def end(self) -> None:
        """Answer nobody any more."""
        self.shutdown()
        self.server_close()


class Front(Proxy):
    """Before MLflow: from the `first` request that logs something, for `count`, there is a `fault`.

    `requests` are all that it got.
    """

    def __init__(self, server: str) -> None:
        self.fault = "none"
        self.requests: list[Request] = []
        self.first, self.count, self.seen = 0, 0, 0
        super().__init__(server)

    def break_down(self, fault: str, first: int, count: int) -> None:
        self.fault, self.first, self.count, self.seen = fault, first, count, 0

    def fault_of(self, request: Request) -> str:
        self.requests.append(request)
        if not any(word in request.path for word in ("log-batch", "runs/create", "artifacts")):
            return "none"
        with self._lock:
            self.seen += 1
            broken = self.first < self.seen <= self.first + self.count
        return self.fault if broken else "none"


class BucketFront(Proxy):
    """Before a server of S3: a drawn share of its answers goes wrong, in drawn ways.

    Draws follow from `seed` and the order of the requests. `injected` counts the ways.
    """

    WAYS = ("error", "unavailable", "slow", "lose", "truncate")

    def __init__(self, server: str, seed: int = 0) -> None:
        self.injected: Counter[str] = Counter()
        self._draw = random.Random(seed)
        self._share, self._ways = 0.0, self.WAYS
        super().__init__(server)

    def break_down(self, share: float, ways: Sequence[str] = WAYS) -> None:
        """From now on this share of the answers goes wrong; none with 0."""
        self._share, self._ways = share, tuple(ways)

    def fault_of(self, request: Request) -> str:
        with self._lock:
            if self._draw.random() >= self._share:
                return "none"
            way = self._draw.choice(self._ways)
            self.injected[way] += 1
        return way

    def failure(self, status: int) -> Answer:
        code = {500: "InternalError", 503: "SlowDown"}[status]
        body = f"<Error><Code>{code}</Code><Message>Please try again.</Message></Error>"
        return Answer(status, [("Content-Type", "application/xml")], body.encode())


class _Handler(BaseHTTPRequestHandler):
    # Clients that ask first whether they may send a body get an answer.
    protocol_version = "HTTP/1.1"
    server: Proxy  # type: ignore[assignment]

    def _pass_on(self) -> None:
        # Each request has a connection of its own: a server that goes takes all with it.
        self.close_connection = True
        length = int(self.headers.get("Content-Length", 0))
        request = Request(self.command, self.path, self.rfile.read(length))
        fault = self.server.fault_of(request)
        if fault in ("hang", "slow"):
            time.sleep(7 if fault == "hang" else 1)
        if fault in ("hang", "refuse"):
            return
        try:
            status = _STATUSES.get(fault)
            answer = self._ask(request) if status is None else self.server.failure(status)
        except (OSError, HTTPException):
            # The server is away.
            return
        if fault != "lose":
            self._send(answer, half=fault == "truncate")

    def _ask(self, request: Request) -> Answer:
        connection = HTTPConnection(self.server.address, timeout=60)
        try:
            headers = {name.title(): value for name, value in self.headers.items()}
            headers["Connection"] = "close"
            connection.request(request.method, request.path, request.body or None, headers)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def _send(self, answer: Answer, *, half: bool) -> None:
        self.send_response(answer.status)
        told = {name.lower(): value for name, value in answer.headers}
        if self.command != "HEAD" or "content-length" not in told:
            told["content-length"] = str(len(answer.body))
        for name, value in (told | {"connection": "close"}).items():
            if name != "transfer-encoding":
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body[: len(answer.body) // 2] if half else answer.body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _pass_on  # noqa: N815

    def log_message(self, *_arguments: Any) -> None:
        pass
