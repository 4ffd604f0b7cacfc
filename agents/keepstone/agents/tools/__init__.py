"""Tools: typed functions that a language model may call, bounded in time and output."""
