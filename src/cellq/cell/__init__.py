"""What a notebook cell is: the names it reads and writes, the state around it, and the parcel it travels in."""
