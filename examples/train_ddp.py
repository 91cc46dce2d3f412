"""Fits a small regression model with PyTorch's DistributedDataParallel, on CPUs or GPUs.

Every rank has its own part of the data. Ends with 1 if the loss does not fall below GOAL.
"""

from __future__ import annotations

import os
import sys

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

GOAL = 0.01
STEPS = 200
SAMPLES = 256


def pick_device() -> torch.device:
    """The GPU of our local rank, or the only one we are shown; the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    shown = torch.cuda.device_count()
    index = 0 if shown == 1 else int(os.environ["LOCAL_RANK"])
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


def make_data(rank: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """This rank's samples of a smooth function of four variables."""
    generator = torch.Generator().manual_seed(1000 + rank)
    inputs = torch.rand(SAMPLES, 4, generator=generator)
    targets = (2 * inputs.sum(dim=1, keepdim=True)).sin()
    return inputs.to(device), targets.to(device)


def train(rank: int, device: torch.device) -> float:
    """Train to the end; the loss over the data of all ranks."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1)).to(device)
    parallel = DistributedDataParallel(model, [device.index] if device.type == "cuda" else None)
    optimizer = torch.optim.Adam(parallel.parameters(), lr=0.05)
    inputs, targets = make_data(rank, device)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(parallel(inputs), targets)
        loss.backward()
        optimizer.step()
    total = nn.functional.mse_loss(parallel(inputs), targets).detach()
    distributed.all_reduce(total)
    return total.item() / distributed.get_world_size()


def main() -> int:
    """Join the others, train, compare with the goal; rank 0 tells."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    device = pick_device()
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        rank, ranks = distributed.get_rank(), distributed.get_world_size()
        loss = train(rank, device)
        if rank == 0:
            print(f"loss {loss:.4f} after {STEPS} steps on {ranks} ranks", flush=True)
        distributed.barrier()  # who leaves first must not take the others' connections along
        return int(not loss < GOAL)
    finally:
        distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
