"""The backend ``srun``: one agent per node of a Slurm job."""
