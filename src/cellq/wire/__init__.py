"""Objects ⇄ signed bytes."""
