"""The language model's server: installing it, keeping it alive, talking to it."""
