"""A job's card: what it shows (`card`), and how (`views`, `widgets`)."""
