"""State of tasks: the overlay of a batch, stores, their folders and changelogs."""
