"""Documents in, evidence out: loaders, chunking, encoding, indexes, search."""
