"""The page that people look at, and health and metrics for programs: a process of its own beside the node."""
