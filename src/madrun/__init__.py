"""madrun starts one distributed job on many machines and leaves nothing behind."""

__version__ = "0.1.0"
