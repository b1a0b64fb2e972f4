"""The command line, `penstock`."""
