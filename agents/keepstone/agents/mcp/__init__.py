"""The Model Context Protocol: our documents as tools for other programs, and other programs' tools for our agent."""
