"""A double of a schema registry: HTTP on loopback, in memory. It is no Confluent server.

It speaks the part of the API that Confluent's client asks for here, and its compatibility
check is BACKWARD by this project's own rules of resolution. tests/contract holds a real registry
to the same contract; the double is there to misbehave, and for tests that are many and quick.
"""

import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from penstock.serde.avro_resolution import mismatch
from penstock.serde.avro_schema import AvroSchema, parse


class RegistryDouble:
    """What the registry holds, and how it misbehaves.

    Attributes:
        subjects: ids of the versions of each subject.
        asked: method and path of each request.
        status: what every request is answered with, None for what is right.
        delay: seconds before each answer.
        instead: what writes an answer of its own, None for what is right.
    """

    def __init__(self) -> None:
        self.subjects: dict[str, list[int]] = {}
        self.schemas: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.authorization: set[str | None] = set()
        self.status: int | None = None
        self.delay = 0.0
        self.instead: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.url = ""

    def put(self, subject: str, schema: Any, **more: Any) -> int:
        """Register a schema without a check."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        entry = {"schema": text, **more}
        if entry not in self.schemas:
            self.schemas.append(entry)
        id = self.schemas.index(entry) + 1
        if id not in self.subjects.setdefault(subject, []):
            self.subjects[subject].append(id)
        return id

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """The status and the body of an answer."""
        if self.status is not None:
            return self.status, {"error_code": self.status, "message": "as told"}
        for pattern, respond in (
            (r"POST /subjects/([^/]+)/versions", self._register),
            (r"POST /subjects/([^/]+)", self._lookup),
            (r"GET /subjects/([^/]+)/versions/(latest|\d+)", self._version),
            (r"GET /schemas/ids/(\d+)", self._schema),
            (r"GET /schemas/ids/(\d+)/versions", self._versions),
        ):
            found = re.fullmatch(pattern, f"{method} {path}")
            if found:
                return respond(*map(unquote, found.groups()), body)
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    def _register(self, subject: str, body: Any) -> tuple[int, Any]:
        new = self._parsed(body)
        for id in self.subjects.get(subject, [])[-1:]:
            why = mismatch(self._parsed(self.schemas[id - 1]), new)
            if why:
                return 409, {"error_code": 409, "message": f"incompatible: {why}"}
        references = {"references": body["references"]} if body.get("references") else {}
        return 200, {"id": self.put(subject, body["schema"], **references)}

    def _parsed(self, entry: Any) -> AvroSchema:
        named: dict[str, Any] = {}
        for to in entry.get("references", ()):
            id = self.subjects[to["subject"]][to["version"] - 1]
            named |= self._parsed(self.schemas[id - 1]).named
        return parse(entry["schema"], named)

    def _lookup(self, subject: str, body: Any) -> tuple[int, Any]:
        if subject not in self.subjects:
            return 404, {"error_code": 40401, "message": f"Subject '{subject}' not found."}
        for version, id in enumerate(self.subjects[subject], 1):
            if self.schemas[id - 1]["schema"] == body["schema"]:
                return 200, {"subject": subject, "version": version, "id": id, **body}
        return 404, {"error_code": 40403, "message": "Schema not found"}

    def _version(self, subject: str, version: str, _body: Any) -> tuple[int, Any]:
        ids = self.subjects.get(subject, [])
        number = len(ids) if version == "latest" else int(version)
        if not 1 <= number <= len(ids):
            return 404, {"error_code": 40401, "message": f"Subject '{subject}' not found."}
        id = ids[number - 1]
        return 200, {"subject": subject, "version": number, "id": id, **self.schemas[id - 1]}

    def _schema(self, id: str, _body: Any) -> tuple[int, Any]:
        if not 1 <= int(id) <= len(self.schemas):
            return 404, {"error_code": 40403, "message": f"Schema {id} not found"}
        return 200, self.schemas[int(id) - 1]

    def _versions(self, id: str, _body: Any) -> tuple[int, Any]:
        return 200, [
            {"subject": subject, "version": ids.index(int(id)) + 1}
            for subject, ids in self.subjects.items()
            if int(id) in ids
        ]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients go away before the answer, as tests let them."""


@contextmanager
def registry_double(tls: ssl.SSLContext | None = None) -> Iterator[RegistryDouble]:
    """Serve a double on a port of its own."""
    double = RegistryDouble()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            size = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(size)) if size else None
            double.asked.append(f"{self.command} {path}")
            double.authorization.add(self.headers.get("Authorization"))
            time.sleep(double.delay)
            if double.instead:
                double.instead(self)
                return
            status, found = double.answer(self.command, path, body)
            answer = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with _Server(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        double.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield double
        finally:
            server.shutdown()
            thread.join()
