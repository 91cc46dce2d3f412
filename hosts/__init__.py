"""The machines of a job: hostfile, filters, World, lists of hosts and cores."""
