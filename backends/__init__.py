"""How agents get onto the nodes: one file per backend."""
