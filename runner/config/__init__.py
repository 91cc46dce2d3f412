"""Config files: reading, checking, and where each value came from."""
