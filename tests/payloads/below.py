"""A worker that somebody below madrun starts: it says who it is, or ends as its first word says.

below.py hello WORDS...     prints its place, MAD_X and the words as JSON
below.py once               node 1 fails; once it is restarted all meet, and succeed
below.py die                rank 1 is killed with SIGKILL; the others wait for ever
"""

from __future__ import annotations

import json
import os
import signal
import sys


def meet() -> None:
    """Wait until all workers are here."""
    from torch import distributed

    distributed.init_process_group("gloo")
    distributed.barrier()
    distributed.destroy_process_group()


def main() -> None:
    """See above; --local_rank is deepspeed's."""
    first, *words = [each for each in sys.argv[1:] if not each.startswith("--local_rank")]
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MAD_X")
    if first == "hello":
        place = {name: os.environ.get(name) for name in names}
        sys.stdout.write(json.dumps({**place, "words": words}) + "\n")
        return
    if first == "once":
        again = os.environ["TORCHELASTIC_RESTART_COUNT"]
        sys.stdout.write(f"restart {again}\n")
        if (os.environ["NODE_RANK"], again) == ("1", "0"):
            sys.exit(1)
        meet()
        sys.stdout.write("all are here\n")
        return
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


if __name__ == "__main__":
    main()
