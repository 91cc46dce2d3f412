"""JAX over all workers of a job: every process adds its rank, and all have the sum.

madrun sets JAX_COORDINATOR_ADDRESS; how many processes there are, and which one this is, JAX is
told here.
"""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp
from jax.experimental.multihost_utils import process_allgather


def main() -> None:
    """The example."""
    rank = int(os.environ["RANK"])
    jax.distributed.initialize(num_processes=int(os.environ["WORLD_SIZE"]), process_id=rank)
    ranks = process_allgather(jnp.array([rank]))
    print(f"process {jax.process_index()} of {jax.process_count()}: sum {int(ranks.sum())}")
    jax.distributed.shutdown()


if __name__ == "__main__":
    main()
