"""A server on this machine, from its start to the client's last word; the engine is a double."""

from __future__ import annotations

import json
import signal
import socket
import sys
from subprocess import CompletedProcess

import pytest

from support.engines import ENV, GENERATE
from support.here import Words, madrun, running

CLIENT = f"{sys.executable} {GENERATE}"
READY = r"READY (http://127\.0\.0\.1:(\d+))\n"


def served(*words: Words, launcher: str = "vllm") -> CompletedProcess[str]:
    return madrun("--launcher", launcher, *words, env=ENV)


@pytest.mark.parametrize("launcher", ["vllm", "sglang"])
def test_a_client_finds_the_server(launcher: str) -> None:
    done = served("--client", CLIENT, "M", launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("READY http://127.0.0.1:") == 1
    assert '[localhost:client] {"text": "hello world", "meta_info": {}}' in done.stdout
    assert "told to end" in done.stdout, "TERM, and time to say so"
    assert "failed" not in done.stderr


@pytest.mark.parametrize(("status", "shell"), [("exit 7", 7), ("kill -9 $$", 137)])
def test_the_clients_status_is_the_jobs(status: str, shell: int) -> None:
    done = served("--client", f"sh -c '{status}'", "M")
    assert done.returncode == shell
    assert "madrun: client on localhost failed first: " in done.stderr
    assert "ended because of it: vllm on localhost" in done.stderr


def test_a_server_that_dies_before_it_is_ready() -> None:
    done = served("--client", "echo never", "M", "--stand-in", "exit=3")
    assert done.returncode == 3
    assert "madrun: vllm on localhost failed first: exited with status 3" in done.stderr
    assert "the engine gives up" in done.stderr
    assert "READY" not in done.stdout
    assert "never" not in done.stdout


def test_a_server_that_ends_well_without_being_told_has_failed() -> None:
    done = served("M", "--stand-in", "exit=0")
    assert done.returncode == 1
    assert "vllm on localhost failed first: ended by itself with status 0" in done.stderr


def test_a_server_that_dies_after_it_was_ready_takes_the_client_along() -> None:
    client = f"sh -c '{CLIENT} /quit; sleep 1000'"
    done = served("--client", client, "M", "--stand-in", "quit=5")
    assert done.returncode == 5
    assert "READY" in done.stdout
    assert "vllm on localhost failed first: exited with status 5" in done.stderr
    assert "ended because of it: client on localhost" in done.stderr


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("hang", "no answer for "),
        ("sick", 'answered 503 Service Unavailable: {"error": "still loading"}'),
    ],
)
def test_the_deadline(how: str, reason: str) -> None:
    done = served("--ready-timeout", "2.5", "M", "--stand-in", how)
    assert done.returncode == 125
    line = next(line for line in done.stderr.splitlines() if "failed first" in line)
    assert line.startswith("madrun: vllm on localhost failed first: not ready within 2.5 s: http:")
    assert reason in line
    assert "up on" in done.stderr, "its last lines"
    assert "ended because of it" not in done.stderr


def test_a_given_port_that_is_in_use() -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        done = served("--launcher-opt", f"port={port}", "M")
    assert done.returncode == 125
    assert f"port {port} cannot be used here: Address already in use" in done.stderr


def test_two_jobs_have_two_ports_and_ctrl_c_ends_one_in_order() -> None:
    with (
        running("--launcher", "vllm", "M", env=ENV) as one,
        running("--launcher", "vllm", "M", env=ENV) as other,
    ):
        ports = {job.until(READY)[0][1] for job in (one, other)}
        assert len(ports) == 2
        for job in (one, other):
            assert job.end(signal.SIGINT) == 130
            assert "told to end" in job.said
            assert "madrun: stopped by SIGINT" in job.said


def test_ready_is_an_event() -> None:
    done = served("--json", "--client", "true", "M")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    names = [event["event"] for event in events]
    ready = events[names.index("ready")]
    assert ready["url"].startswith("http://127.0.0.1:")
    assert "concluded" in names
    started = [event["workers"] for event in events if event["event"] == "started"]
    assert [list(each) for each in started] == [["0"], ["1"]], "the client comes later"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--launcher", "vllm", "--client", "echo 'a", "M"), '--client "echo \'a": No closing'),
        (
            ("--client", "true", "x.py"),
            "--client: the launcher native starts no server to wait for",
        ),
        (("--launcher", "sglang", "--client", "true", "run.sh"), "nobody knows when it is ready"),
        (("--launcher", "vllm", "--ready-timeout", "0", "M"), "--ready-timeout"),
        (("--launcher", "sglang-disagg", "M"), "requires minimum 3 nodes"),
    ],
)
def test_what_is_refused_before_anything_starts(words: tuple[str, ...], message: str) -> None:
    done = madrun(*words, env=ENV)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_client_that_is_not_there() -> None:
    done = served("--client", "no-such-program", "M")
    assert done.returncode == 127
    assert "program 'no-such-program' is not found on the PATH of the workers" in done.stderr
