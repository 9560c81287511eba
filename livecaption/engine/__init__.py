"""The inference process: started by name by `workers`, never imported by the server process."""
