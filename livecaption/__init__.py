"""livecaption: a self-hosted server for live captions. Importing it loads nothing else."""

__version__ = "0.1.0"
