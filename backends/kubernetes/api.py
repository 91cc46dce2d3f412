"""The API server, by the official client's configuration, authentication and connections.

Its models and its calls are not used: they decode what is not asked for, hide which answer broke,
and know no object of another group. What comes is plain data.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from madrun.backends.kubernetes.settings import Settings
from madrun.system.errors import ClusterError, InputError

_CONNECT, _READ = 10.0, 30.0  # seconds
_TRIES = 5  # of a request that the server has no time for
_LONGEST_PAUSE = 10.0  # seconds between two
_IN_CLUSTER = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

Object = dict[str, Any]


class ApiError(ClusterError):
    """The API server has refused: ``status`` is that of HTTP, ``reason`` Kubernetes' word."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


class UnreachableError(ClusterError):
    """No API server answers; it may only be restarted."""


def connect(settings: Settings, environ: Mapping[str, str]) -> Api:
    """The API server of the kubeconfig, or the one in whose cluster we are.

    Raises InputError where the client is not installed, and where nothing names a server.
    """
    try:
        from kubernetes import client, config
    except ImportError:
        raise InputError(
            "--backend kubernetes needs the Kubernetes client: pip install 'madrun[k8s]'"
        ) from None
    made = client.Configuration()
    given = settings.kubeconfig or environ.get("KUBECONFIG", "")
    try:
        if not given and not os.path.exists(os.path.expanduser("~/.kube/config")):
            config.load_incluster_config(client_configuration=made)
            namespace = _own_namespace()
        else:
            context = settings.context or None
            file = settings.kubeconfig or None
            config.load_kube_config(file, context, client_configuration=made)
            namespace = _namespace_of(config, file, settings.context)
    except config.ConfigException as error:
        where = f"kubeconfig {given}" if given else "Kubernetes"
        raise InputError(f"{where}: {error} (k8s: kubeconfig, or $KUBECONFIG)") from None
    except OSError as error:
        raise InputError(f"kubeconfig {given}: {error.strerror or error}") from None
    return Api(made, settings.namespace or namespace or "default")


def _own_namespace() -> str:
    try:
        with open(_IN_CLUSTER, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def _namespace_of(config: Any, file: str | None, name: str) -> str:
    contexts, active = config.list_kube_config_contexts(file)
    chosen = next((each for each in contexts if each["name"] == name), active)
    return str(chosen["context"].get("namespace") or "")


class Api:
    """Requests to one API server; every method may be called from any thread."""

    def __init__(self, configuration: Any, namespace: str) -> None:
        from kubernetes.client import ApiClient

        self.namespace = namespace
        self._configuration = configuration
        self._client = ApiClient(configuration)
        self._pause = threading.Event()

    @property
    def server(self) -> str:
        """Its address."""
        return str(self._configuration.host)

    def path(self, group: str, resource: str, name: str = "") -> str:
        """The path of objects in our namespace.

        ``group`` is a version with its group: ``v1``, ``batch/v1``.
        """
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        return "/".join(filter(None, [root, "namespaces", self.namespace, resource, name]))

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Object:
        """The object of an answer. Raises ApiError and UnreachableError."""
        for number in range(_TRIES):
            with self._answer(method, path, body, query, _READ) as answer:
                data = self._data(answer)
                if answer.status != 429 or number == _TRIES - 1:
                    return _object_of(answer.status, data)
                pause = _seconds(answer.headers.get("Retry-After", "1"))
            self._pause.wait(pause)
        raise AssertionError

    def stream(self, path: str, query: Mapping[str, str], silence: float) -> Any:
        """A watch or a log: an answer whose ``read1`` gives what comes; it is the caller's to
        close. ``silence`` is how many seconds nothing may come."""
        answer = self._answer("GET", path, None, query, silence)
        if answer.status != 200:
            with answer:
                _object_of(answer.status, self._data(answer))
        return answer

    def forward(self, pod: str, port: int) -> Any:
        """A socket that leads to a port of a pod's loopback."""
        from kubernetes.client.rest import ApiException
        from kubernetes.stream.ws_client import portforward_call

        headers = {"sec-websocket-protocol": "v4.channel.k8s.io", **self._authorization()}
        url = self.server + self.path("v1", "pods", pod) + "/portforward"
        try:
            call = portforward_call(
                self._configuration, "GET", url, query_params=[("ports", str(port))],
                headers=headers,
            )  # fmt: skip
        except ApiException as error:
            raise UnreachableError(f"no port-forward to {pod}: {error.reason}") from None
        return call.socket(port)

    def _authorization(self) -> dict[str, str]:
        """What proves who we are; a token that gets old is renewed here."""
        settings = self._configuration.auth_settings().values()
        return {each["key"].lower(): each["value"] for each in settings if each["value"]}

    def _answer(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, str] | None,
        read: float,
    ) -> Any:
        import urllib3

        headers = {"accept": "application/json", **self._authorization()}
        data = None
        if body is not None:
            headers["content-type"] = "application/json"
            data = json.dumps(body).encode()
        url = f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            return self._client.rest_client.pool_manager.request(
                method, url, body=data, headers=headers, retries=False, preload_content=False,
                timeout=urllib3.Timeout(connect=_CONNECT, read=read),
            )  # fmt: skip
        except urllib3.exceptions.HTTPError as error:
            raise UnreachableError(f"the API server {self.server}: {_reason(error)}") from None

    def _data(self, answer: Any) -> bytes:
        import urllib3

        try:
            data: bytes = answer.read()
        except urllib3.exceptions.HTTPError as error:
            raise UnreachableError(f"the API server {self.server}: {_reason(error)}") from None
        return data


def _object_of(status: int, data: bytes) -> Object:
    """The object in an answer, which is no JSON where no part of Kubernetes has answered."""
    try:
        content = json.loads(data) if data else {}
    except ValueError:
        content = None
    if status < 400:
        if not isinstance(content, dict):
            raise ApiError(status, "", "the API server answers with something that is no JSON")
        return content
    if isinstance(content, dict) and content.get("kind") == "Status":
        raise ApiError(status, content.get("reason", ""), _message(status, content))
    text = data.decode(errors="replace").strip()[:300]
    raise ApiError(status, "", f"HTTP {status}: {text}")


def _message(status: int, content: Object) -> str:
    message = str(content.get("message", f"HTTP {status}"))
    if status == 401:
        return f"{message}: the API server does not know these credentials"
    return message


def _seconds(text: str) -> float:
    return min(float(text), _LONGEST_PAUSE) if text.isdecimal() else 1.0


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", None) or error
    text = str(inner)
    # urllib3 begins with its own connection object.
    return text.partition("): ")[2] or text.partition(">: ")[2] or text
