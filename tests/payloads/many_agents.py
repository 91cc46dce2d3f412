"""Agents' channels, many in one process: each connects, says Hello, and stays until stdin ends."""

import sys

from madrun.system.open_files import raise_limit
from madrun.wire.agent_channel import AgentChannel
from madrun.wire.messages import Hello


def main() -> None:
    count, control, output, runner_key = sys.argv[1:]
    raise_limit()
    channels = []
    for node_rank in range(int(count)):
        channel = AgentChannel(
            lambda call: call(), lambda _message: None, lambda _reason: None, 600.0
        )
        print(channel.public_key, flush=True)
        channel.connect(["127.0.0.1"], (int(control), int(output)), runner_key)
        channel.send(Hello(node_rank, f"node{node_rank}", 1, 1))
        channels.append(channel)
    sys.stdin.read()
    for channel in channels:
        channel.close()


if __name__ == "__main__":
    main()
