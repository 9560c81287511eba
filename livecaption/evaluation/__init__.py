"""Measurements of the accuracy and latency of captions, and of the safe end of a server. No server imports them."""
