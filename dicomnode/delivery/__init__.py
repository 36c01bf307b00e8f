"""From a result to the destinations."""
