"""The command madrun: what the user asked for becomes a plan, and the plan a job."""
