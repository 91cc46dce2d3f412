"""Why a worker ended: kernel, memory, disks, tracebacks, frameworks' own summaries."""
