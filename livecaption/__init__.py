"""livecaption: a self-hosted server for live captions. Importing it loads nothing else.

`from livecaption import connect` loads the client then, because a name of the client is looked up when it is used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livecaption.client import StreamSettings, connect, transcribe, watch

__all__ = ["StreamSettings", "__version__", "connect", "transcribe", "watch"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from livecaption import client

    found: object = getattr(client, name)
    globals()[name] = found
    return found
