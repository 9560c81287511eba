"""20 ms frames -> utterances. Pure: time is the number of samples pushed."""
