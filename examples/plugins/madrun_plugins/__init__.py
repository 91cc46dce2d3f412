"""A backend and a launcher that are not part of madrun."""
