"""What is kept of a job: its folder, its events and their summary."""
