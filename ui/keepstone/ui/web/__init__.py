"""The web pages: chat, documents and status, in Gradio, behind the session that the HTTP face recognises."""

from keepstone.ui.web.app import mount

__all__ = ["mount"]
