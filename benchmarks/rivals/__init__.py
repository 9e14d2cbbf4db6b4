"""Others, each set up as its documentation advises for this kind of work."""
