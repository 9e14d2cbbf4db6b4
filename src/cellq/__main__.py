"""`python -m cellq` is the command `cellq`."""

from cellq.cli import main

main()
