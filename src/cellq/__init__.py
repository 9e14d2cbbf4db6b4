"""cellq: notebook cells and functions in background workers."""
