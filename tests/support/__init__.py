"""What the tests share: hosts, jobs, programs, the orphan oracle."""
