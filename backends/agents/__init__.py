"""Agents that a backend has started: what one prints, and one on this machine."""
