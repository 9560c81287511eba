"""Run livecaption with aiohttp's own runner: `python run_app.py SCRIPT`, with a script of the scripted engine."""

import logging
import re
import sys

from aiohttp import web

from livecaption.config import Config
from livecaption.ipc.config import EngineConfig
from livecaption.server import build_app


def tell(text: str) -> None:
    if match := re.search(r"Running on (\S+)", text):
        print(f"listening on {match[1]}/", file=sys.stderr, flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    app = build_app(Config(engine=EngineConfig("scripted", sys.argv[1])))
    web.run_app(app, host="127.0.0.1", port=0, print=tell)
