"""The faces: web (Gradio), http (OpenAI-compatible API), cli."""
