"""From what arrives to a series that is complete."""
