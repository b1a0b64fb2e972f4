"""The immutable graph that an application declares. It runs nothing."""
