"""A test double for the package ``sglang``: only its server's command line; see stand_in.py."""
