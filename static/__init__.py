"""The demo page, installed as package data and served at `/` and `/static/`."""
