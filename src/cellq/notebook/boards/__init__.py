"""Many at once: a group of jobs, the jobs of a store, its workers; live tables, and what they show elsewhere."""
