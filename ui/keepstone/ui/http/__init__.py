"""The HTTP face: OpenAI's API over the model and the collections, and Keepstone's own routes beside it."""
