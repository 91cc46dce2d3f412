"""What runs on a node: one file for each launcher, pure functions from job spec to node plan."""
