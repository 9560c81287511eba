"""Turn hypotheses into captions, and captions into transcripts. Pure: no IO, no clock, no asyncio."""
