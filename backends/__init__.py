"""How agents get onto the nodes: one file or folder for each backend."""
