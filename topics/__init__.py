"""Topics: declarations, configurations of internal ones, partitioning, and the admin client."""
