"""Whole recordings that clients upload: stored for a moment, decoded, and transcribed behind all live streams.

spool       a recording on its way to the disk, in a file without a name
recording   one recording, on its way through a pipeline
counts      what became of them, by protocol
admission   how many recordings there are at a time, and their common end
"""
