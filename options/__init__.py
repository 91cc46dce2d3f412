"""The options that madrun and madagent share, and the types of their values."""
