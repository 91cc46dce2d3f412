"""What madrun needs of the operating system: loop, guard, signals, processes, exit statuses."""
