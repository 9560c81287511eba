"""Measure on a machine with a GPU: `__main__` runs the steps, `pack` makes what a machine without network needs."""
