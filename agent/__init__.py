"""One node of a job: devices, processes, logs, the kill."""
