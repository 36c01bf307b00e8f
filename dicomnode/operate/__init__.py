"""What people do with a node: look, ask, check, try."""
