"""The inference process. `workers` starts it by its module's name; the server process never imports it."""
