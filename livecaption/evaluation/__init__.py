"""How good and how fast captions are, and how surely a server ends: measurements. Never imported by the server."""
