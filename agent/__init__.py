"""One node of a job: its place, its processes, their logs, their end."""
