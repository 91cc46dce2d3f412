"""What runs on a node: one file per launcher, pure functions from job spec to node plan."""
