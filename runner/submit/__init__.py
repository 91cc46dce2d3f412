"""``--submit``: a batch script instead of a job that starts now."""
