"""livecaption: a self-hosted server for live captions. Importing it costs nothing."""

__version__ = "0.1.0"
