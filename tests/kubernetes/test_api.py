"""The way to an API server: watches and refusals on the stand-in, and as they were recorded."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from madrun.backends.kubernetes.api import Api, ApiError, UnreachableError, _object_of, connect
from madrun.backends.kubernetes.settings import Settings
from madrun.backends.kubernetes.watch import Watch
from standins.kubernetes_api.server import ApiServer
from support.programs import PATIENCE

REFUSALS = json.loads(
    (Path(__file__).parent / "recorded" / "refusals.json").read_text(encoding="utf-8")
)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """Without any node."""
    made = ApiServer()
    yield made
    made.close()


@pytest.fixture
def api(server: ApiServer, tmp_path: Path) -> Api:
    return connect(Settings(kubeconfig=str(server.kubeconfig(tmp_path))), {})


class Seen:
    """What a watch tells, in its order."""

    def __init__(self, api: Api, query: dict[str, str] | None = None) -> None:
        self.told: queue.SimpleQueue[tuple[str, bool]] = queue.SimpleQueue()
        self.troubles: queue.SimpleQueue[ApiError] = queue.SimpleQueue()
        path = api.path("v1", "services")
        self.watch = Watch(api, path, query or {}, self._changed, self.troubles.put)
        self.watch.start()

    def _changed(self, item: dict[str, Any], gone: bool) -> None:
        self.told.put((item["metadata"]["name"], gone))

    def next(self) -> tuple[str, bool]:
        return self.told.get(timeout=PATIENCE)


def make(server: ApiServer, name: str, **labels: str) -> tuple[str, str, str]:
    metadata = {"name": name, "namespace": "default", "labels": labels}
    server.store.create("services", {"metadata": metadata})
    return "services", "default", name


def test_a_watch_tells_what_is_there_what_comes_and_what_goes(server: ApiServer, api: Api) -> None:
    key = make(server, "old")
    seen = Seen(api)
    assert seen.next() == ("old", False)
    make(server, "new")
    assert seen.next() == ("new", False)
    server.store.remove(key)
    assert seen.next() == ("old", True)
    seen.watch.close()


def test_a_watch_goes_on_after_a_server_that_was_away(server: ApiServer, api: Api) -> None:
    """Every version is too old then: what went meanwhile is told as gone, what came as new."""
    key = make(server, "goes")
    make(server, "stays")
    seen = Seen(api)
    assert {seen.next(), seen.next()} == {("goes", False), ("stays", False)}
    server.stop()
    server.store.remove(key)
    make(server, "came")
    server.start()
    found = [seen.next() for _ in range(3)]
    assert found[0] == ("goes", True)
    assert set(found[1:]) == {("stays", False), ("came", False)}
    make(server, "later")
    assert seen.next() == ("later", False)
    seen.watch.close()


def test_a_version_that_is_too_old_is_listed_anew(server: ApiServer, api: Api) -> None:
    make(server, "there")
    seen = Seen(api)
    assert seen.next() == ("there", False)
    server.store.forget()
    assert seen.next() == ("there", False)
    make(server, "after")
    assert seen.next() == ("after", False)
    seen.watch.close()


def test_a_watch_waits_for_a_server_that_has_no_time(server: ApiServer, api: Api) -> None:
    server.busy = 2
    make(server, "there")
    seen = Seen(api)
    assert seen.next() == ("there", False)
    seen.watch.close()


def test_a_watch_that_is_not_allowed_says_so_once(server: ApiServer, tmp_path: Path) -> None:
    server.rules["alice"] = set()
    api = connect(Settings(kubeconfig=str(server.kubeconfig(tmp_path, "alice"))), {})
    error = Seen(api).troubles.get(timeout=PATIENCE)
    assert error.status == 403
    assert 'User "alice" cannot list resource "services"' in str(error)


def test_labels_select(server: ApiServer, api: Api) -> None:
    make(server, "other", job="b")
    make(server, "mine", job="a")
    seen = Seen(api, {"labelSelector": "job=a"})
    assert seen.next() == ("mine", False)
    seen.watch.close()


def test_no_server_is_an_error_that_names_it(server: ApiServer, api: Api) -> None:
    server.stop()
    with pytest.raises(UnreachableError, match=rf"the API server http://127.0.0.1:{server.port}: "):
        api.request("GET", api.path("v1", "pods"))
    server.start()


def test_a_server_without_time_is_asked_again(server: ApiServer, api: Api) -> None:
    server.busy = 2
    assert api.request("GET", api.path("v1", "pods"))["items"] == []
    server.busy = 100
    with pytest.raises(ApiError, match="HTTP 429: Too many requests, please try again later"):
        api.request("GET", api.path("v1", "pods"))
    server.busy = 0


def test_what_the_schemas_refuse_is_refused(server: ApiServer, api: Api) -> None:
    with pytest.raises(ApiError, match="strict decoding error"):
        api.request("POST", api.path("v1", "services"), {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"odd": 1},
        })  # fmt: skip


# ---- recorded refusals


@pytest.mark.parametrize("scenario", REFUSALS)
def test_every_recorded_refusal_is_one_error_with_its_words(scenario: str) -> None:
    for row in REFUSALS[scenario]:
        body = row["body"]
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        with pytest.raises(ApiError) as caught:
            _object_of(row["status"], data if body is not None else b"")
        assert caught.value.status == row["status"]
        message = str(caught.value)
        assert message.startswith(
            body["message"] if isinstance(body, dict) else f"HTTP {row['status']}"
        )
        assert not isinstance(body, dict) or caught.value.reason == body.get("reason", "")
