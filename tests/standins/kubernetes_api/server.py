"""HTTP: paths, tokens and rules, lists and watches, logs, port-forwards; and its bad days."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR, socket
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import kubernetes_validate

from standins.kubernetes_api.jobs import JobController, delete_job
from standins.kubernetes_api.nodes import Nodes, _Pod, dial
from standins.kubernetes_api.store import Object, StatusError, Store, now
from standins.kubernetes_api.websocket import accept_key, forward
from support.cluster import Cluster

VERSION = "1.36"
_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)(?:/namespaces/(?P<space>[^/]+))?"
    r"/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<part>[^/]+))?$"
)
_VERBS = {"POST": "create", "DELETE": "delete", "GET": "get", "PATCH": "patch"}
ADMIN = "admin"
Rule = tuple[str, str, str]  # verb, resource with its part, group


class ApiServer:
    """The stand-in, with the hosts of a testbed as its nodes, or without any."""

    def __init__(self, cluster: Cluster | None = None, namespaces: tuple[str, ...] = ("default",)):
        self.store = Store()
        self.controller = JobController(self.store)
        self.nodes = Nodes(self.store, self.controller, cluster)
        self.namespaces = set(namespaces)
        self.rules: dict[str, set[Rule] | None] = {ADMIN: None}  # by user; None: all
        self.busy = 0  # so many requests are answered with 429
        self.forwards = True  # or a proxy on the way knows no WebSocket
        self.requests: list[tuple[str, str]] = []
        self.connections: set[socket] = set()
        self._lock = threading.Lock()
        self._listen(0)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    def kubeconfig(self, folder: Path, user: str = ADMIN, namespace: str = "default") -> Path:
        """A file for a client who is this user."""
        content = {
            "apiVersion": "v1", "kind": "Config", "current-context": "standin",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "u", "user": {"token": user}}],
            "contexts": [{"name": "standin",
                          "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
        }  # fmt: skip
        path = folder / f"kubeconfig-{user}"
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    def stop(self) -> None:
        """As by SIGKILL: every connection breaks, new ones are refused."""
        self.http.shutdown()
        self.http.server_close()
        with self._lock:
            connections = list(self.connections)
        for each in connections:
            with suppress(OSError):
                each.shutdown(SHUT_RDWR)

    def start(self) -> None:
        """Again, at the same place; no version that was known counts any more."""
        self.store.forget()
        self._listen(self._port)

    def close(self) -> None:
        """The end of everything."""
        self.stop()
        self.nodes.close()
        self.controller.close()

    def _listen(self, port: int) -> None:
        self.http = _Http(("127.0.0.1", port), _Handler)
        self.http.api = self
        self._port: int = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def may(self, user: str, verb: str, resource: str, group: str) -> bool:
        """Whether a rule allows it."""
        if user not in self.rules:
            raise StatusError(401, "Unauthorized", "Unauthorized")
        rules = self.rules[user]
        return rules is None or (verb, resource, group) in rules


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    api: ApiServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def setup(self) -> None:
        super().setup()
        with self.server.api._lock:
            self.server.api.connections.add(self.connection)

    def finish(self) -> None:
        with self.server.api._lock:
            self.server.api.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_DELETE = do_PATCH = do_GET

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        api, url = self.server.api, urlsplit(self.path)
        api.requests.append((self.command, url.path))
        if api.busy > 0:
            api.busy -= 1
            self._send(429, b"Too many requests, please try again later.\n", "text/plain",
                       {"Retry-After": "1"})  # fmt: skip
            return
        try:
            self._route(url.path, dict(parse_qsl(url.query)), json.loads(body) if body else {})
        except StatusError as error:
            self._json(error.code, error.body)
        except json.JSONDecodeError:
            self._json(400, StatusError(400, "BadRequest", "no JSON").body)

    def _route(self, path: str, query: dict[str, str], body: Object) -> None:
        user = self.headers.get("authorization", "").removeprefix("Bearer ")
        found = _PATH.match(path)
        if found is None or found["group"] not in (None, "batch", "authorization.k8s.io"):
            self._send(404, b"404 page not found\n", "text/plain")
            return
        group, resource, part = found["group"] or "", found["resource"], found["part"]
        if resource == "selfsubjectaccessreviews":
            self._review(user, body)
            return
        verb = _VERBS[self.command]
        if verb == "get" and not found["name"]:
            verb = "watch" if query.get("watch") == "true" else "list"
        key = (resource, found["space"], found["name"] or "")
        self._check(user, verb, f"{resource}/{part}" if part else resource, group, key[1])
        if part == "log":
            self._log(key, query)
        elif part == "portforward":
            self._forward(key, int(query["ports"]))
        elif verb == "watch":
            self._watch(resource, key[1], query)
        else:
            code = 201 if verb == "create" else 200
            self._json(code, self._object(verb, key, query, body))

    def _check(self, user: str, verb: str, what: str, group: str, space: str) -> None:
        if self.server.api.may(user, verb, what, group):
            return
        plural = what.partition("/")[0] + (f".{group}" if group else "")
        message = f'{plural} is forbidden: User "{user}" cannot {verb} resource "{what}" in API'
        message += f' group "{group}" in the namespace "{space}"'
        raise StatusError(403, "Forbidden", message, kind=what)

    def _object(
        self, verb: str, key: tuple[str, str, str], query: dict[str, str], body: Object
    ) -> Object:
        store = self.server.api.store
        match verb:
            case "create":
                return self._create(key[0], key[1], body)
            case "delete":
                return delete_job(store, key, body)
            case "list":
                items = [each for each in store.list(*key[:2]) if _matches(each, query)]
                version = {"resourceVersion": str(store.version)}
                return {"kind": "List", "apiVersion": "v1", "metadata": version, "items": items}
        return store.get(key)

    def _review(self, user: str, body: Object) -> None:
        asked = body["spec"]["resourceAttributes"]
        part = asked.get("subresource")
        resource = f"{asked['resource']}/{part}" if part else asked["resource"]
        allowed = self.server.api.may(user, asked["verb"], resource, asked.get("group", ""))
        self._json(201, {**body, "status": {"allowed": allowed}})

    def _create(self, resource: str, space: str, body: Object) -> Object:
        if space not in self.server.api.namespaces:
            message = f'namespaces "{space}" not found'
            raise StatusError(404, "NotFound", message, name=space, kind="namespaces")
        try:
            kubernetes_validate.validate(body, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            message = f"strict decoding error: {error}"[:500]
            raise StatusError(400, "BadRequest", message) from None
        body["metadata"]["namespace"] = space
        if resource == "jobs":
            body["status"] = {}
            labels = body["spec"]["template"]["metadata"].setdefault("labels", {})
            labels["job-name"] = body["metadata"]["name"]
        return self.server.api.store.create(resource, body)

    def _watch(self, resource: str, space: str, query: dict[str, str]) -> None:
        store = self.server.api.store
        until = time.monotonic() + float(query.get("timeoutSeconds", "300"))
        self._begin("application/json")
        since = int(query.get("resourceVersion") or 0)
        for kind, item in store.events(resource, space, since, until, self._is_open):
            if kind == "ERROR" or _matches(item, query):
                self._chunk(json.dumps({"type": kind, "object": item}).encode() + b"\n")
        self._chunk(b"")

    def _is_open(self) -> bool:
        return self.connection in self.server.api.connections and self.connection.fileno() >= 0

    def _log(self, key: tuple[str, str, str], query: dict[str, str]) -> None:
        item = self.server.api.store.get(key)
        pod = self.server.api.nodes.running(key[2])
        if not item["spec"].get("nodeName"):
            self._send(204, b"", "text/plain")
            return
        if not pod.log.exists():
            message = f'container "main" in pod "{key[2]}" is waiting to start: ContainerCreating'
            raise StatusError(400, "BadRequest", message)
        self._begin("text/plain")
        if query.get("follow") == "true":
            for number, line in enumerate(self._followed(pod)):
                if told := _stamped(number, line, query):
                    self._chunk(told)
        else:
            lines = pod.log.read_bytes().splitlines(keepends=True)
            if told := b"".join(lines[-int(query.get("tailLines", len(lines))) :]):
                self._chunk(told)
        self._chunk(b"")

    def _followed(self, pod: _Pod) -> Iterator[bytes]:
        """The lines of a pod's log until its process has ended, or the client has gone."""
        with pod.log.open("rb") as file:
            while True:
                has_ended = pod.process is None or pod.process.poll() is not None
                while line := file.readline():
                    yield line
                if has_ended or not self._is_open():
                    return
                time.sleep(0.05)

    def _forward(self, key: tuple[str, str, str], port: int) -> None:
        if not self.server.api.forwards:
            raise StatusError(400, "BadRequest", "Upgrade request required")
        pod = self.server.api.nodes.running(key[2])
        answer = accept_key(self.headers["sec-websocket-key"])
        lines = [
            "HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {answer}", "Sec-WebSocket-Protocol: v4.channel.k8s.io",
        ]  # fmt: skip
        self.connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.close_connection = True
        with suppress(OSError):
            inner = dial(pod.pid(), port) if pod.host not in self.server.api.nodes.silent else None
            if inner is not None:
                inner.settimeout(None)
                forward(self.connection, self.rfile, port, inner)

    def _begin(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, data: bytes) -> None:
        with suppress(OSError):
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

    def _json(self, code: int, body: Object) -> None:
        self._send(code, json.dumps(body).encode() + b"\n", "application/json")

    def _send(
        self, code: int, data: bytes, kind: str, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def _stamped(number: int, line: bytes, query: dict[str, str]) -> bytes:
    """A line with a time, two in each second; what is older than a whole second is left out."""
    if query.get("timestamps") != "true":
        return line
    stamp = f"2026-11-21T10:{number // 120:02}:{number // 2 % 60:02}.{number % 2}23456789Z"
    if stamp.partition(".")[0] < query.get("sinceTime", "").partition(".")[0]:
        return b""
    return f"{stamp} ".encode() + line


def _matches(item: Object, query: dict[str, str]) -> bool:
    labels = item["metadata"].get("labels") or {}
    for term in filter(None, query.get("labelSelector", "").split(",")):
        name, _, value = term.partition("=")
        if labels.get(name) != value:
            return False
    for term in filter(None, query.get("fieldSelector", "").split(",")):
        name, _, value = term.partition("=")
        assert name == "metadata.name", "no other field is selected here"
        if item["metadata"]["name"] != value:
            return False
    return True


def evict(api: ApiServer, name: str, namespace: str = "default") -> None:
    """As the eviction API does it."""

    def alter(item: Object) -> None:
        listed = item["status"].setdefault("conditions", [])
        listed.append({"type": "DisruptionTarget", "status": "True",
                       "reason": "EvictionByEvictionAPI"})  # fmt: skip
        item["metadata"]["deletionTimestamp"] = now()

    api.store.change(("pods", namespace, name), alter)
