"""The folder that holds everything a node must not lose."""
