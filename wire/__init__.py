"""The shared ground of runner and agent: World, job spec, messages, channel."""
