"""Turn 20 ms frames into utterances. Pure: time is the number of samples pushed."""
