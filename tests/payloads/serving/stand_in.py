"""A test double for an inference engine: it speaks the HTTP that madrun, routers and clients speak.

No model, no GPU. What it is to do beside serving is said by words behind ``--stand-in``:
``exit=STATUS`` at once, ``hang`` (health is never answered), ``sick`` (health is 503 for ever),
``quit=STATUS`` as soon as somebody asks for /quit.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HEALTH = ("/health", "/health_generate", "/v1/models")


class Handler(BaseHTTPRequestHandler):
    """The endpoints of vLLM and SGLang that anybody here asks for."""

    words: tuple[str, ...] = ()
    name = ""

    def do_GET(self) -> None:
        if self.path in HEALTH and "hang" in self.words:
            threading.Event().wait()
        if self.path in HEALTH and "sick" in self.words:
            self.answer(503, {"error": "still loading"})
        elif self.path in HEALTH:
            self.answer(200, {"object": "list", "data": [{"id": self.name}]})
        elif self.path in ("/get_server_info", "/server_info"):
            self.answer(200, {"model_path": self.name, "tp_size": 1, "dp_size": 1})
        elif self.path in ("/get_model_info", "/model_info"):
            self.answer(200, {"model_path": self.name, "is_generation": True})
        elif self.path == "/quit":
            self.answer(200, {})
            leave(next((int(w[5:]) for w in self.words if w.startswith("quit=")), 0))
        else:
            self.answer(404, {"error": self.path})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        asked = json.loads(self.rfile.read(length) or b"{}")
        print(f"asked for {self.path}", flush=True)
        if self.path == "/generate":
            self.answer(200, {"text": f"{asked.get('text')} world", "meta_info": {}})
        else:
            self.answer(404, {"error": self.path})

    def answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing of each request."""


def leave(status: int) -> None:
    os._exit(status)


def serve(name: str, port: int, words: tuple[str, ...]) -> None:
    """Answer on a port until a signal comes."""
    for word in words:
        if word.startswith("exit="):
            print("the engine gives up", file=sys.stderr, flush=True)
            leave(int(word[5:]))
    Handler.name, Handler.words = name, words
    server = ThreadingHTTPServer(("0.0.0.0", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"up on {port}", flush=True)


def follow(address: str) -> None:
    """Like SGLang's other ranks: deaf to SIGTERM, gone as soon as rank 0 is."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    host, _, port = address.rpartition(":")
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=30) as leader:
                leader.settimeout(None)
                print("follows rank 0", flush=True)
                leader.recv(1)
                print("rank 0 is gone", flush=True)
                return
        except OSError:
            time.sleep(0.02)


def lead(address: str) -> None:
    """Let the other ranks follow."""
    port = int(address.rpartition(":")[2])
    listener = socket.create_server(("", port))
    followers: list[socket.socket] = []

    def accept() -> None:
        while True:
            followers.append(listener.accept()[0])

    threading.Thread(target=accept, daemon=True).start()


def until_told() -> None:
    """Wait for SIGTERM or Ctrl-C, and say that it came."""
    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    signal.sigwait(ending)
    print(f"told to end at {time.time():.3f}", flush=True)
    leave(0)


def parser() -> argparse.ArgumentParser:
    """What all engines here are told."""
    made = argparse.ArgumentParser()
    made.add_argument("--stand-in", action="append", default=[])
    made.add_argument("--port", type=int, default=0)
    made.add_argument("--nnodes", type=int, default=1)
    made.add_argument("--node-rank", type=int, default=0)
    return made
