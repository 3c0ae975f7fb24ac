"""One file an architecture: its sizes, its metadata and the table of its tensors."""
