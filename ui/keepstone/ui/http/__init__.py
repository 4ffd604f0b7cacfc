"""The HTTP face: OpenAI's API over the model and the collections, and Keepstone's own routes beside it."""

from keepstone.ui.http.app import create_app

__all__ = ["create_app"]
