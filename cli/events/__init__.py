"""Events for `penstock produce`: made up or read, in disorder where wanted, sent at a pace."""
