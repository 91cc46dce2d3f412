"""The runner's descriptors for many hosts: a connection for each login, and the real channel."""

import socket
import subprocess
import sys
from pathlib import Path
from queue import Queue

from madrun.system.open_files import raise_limit
from madrun.wire.messages import Hello, Message
from madrun.wire.runner_channel import RunnerChannel

AGENTS = Path(__file__).with_name("many_agents.py")


def main() -> None:
    count = int(sys.argv[1])
    raise_limit()
    heard: Queue[int] = Queue()

    def take(node_rank: int, message: Message) -> None:
        if isinstance(message, Hello):
            heard.put(node_rank)

    channel = RunnerChannel(lambda call: call(), take, lambda *_lost: None, 600.0)
    argv = [sys.executable, str(AGENTS), str(count), *map(str, channel.ports), channel.public_key]
    agents = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert agents.stdout
    with socket.create_server(("127.0.0.1", 0), backlog=8) as sshd:
        logins = []
        for node_rank in range(count):
            logins.append(socket.create_connection(sshd.getsockname()))
            sshd.accept()[0].close()
            channel.admit(node_rank, agents.stdout.readline().strip())
        assert {heard.get() for _ in range(count)} == set(range(count))
    print(f"{count} agents are there")
    agents.communicate("")
    channel.close()


if __name__ == "__main__":
    main()
