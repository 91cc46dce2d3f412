"""What runner and agent say to each other: job spec, messages, channel, authentication, leases."""
