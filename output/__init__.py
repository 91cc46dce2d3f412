"""What the user sees and types: console, stdin, progress, the failure report."""
