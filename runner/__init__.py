"""The command, resources, the life of a job, the console."""
