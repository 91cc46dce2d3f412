"""``python -m madrun``: the same as the command ``madrun``."""

from __future__ import annotations

from madrun.runner.__main__ import main

if __name__ == "__main__":
    main()
