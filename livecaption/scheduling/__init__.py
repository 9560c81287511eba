"""Which request a worker gets next. Pure: events in, instructions out."""
