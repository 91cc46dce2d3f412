"""Backends that let one tool start all agents: pdsh, Open MPI, MPICH, srun."""
