"""What a user can ask for: each option once, with its type, default and help."""
