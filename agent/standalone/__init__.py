"""An agent without a runner: by hand, or one of the tasks of a Slurm step."""
