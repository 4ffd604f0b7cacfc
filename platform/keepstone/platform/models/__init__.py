"""Models: the catalog of those worth running, fetching them, and the registry of those on this machine."""
