"""Evidence in, answers out: grounded answering with checked citations."""
