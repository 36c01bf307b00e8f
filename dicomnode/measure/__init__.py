"""From maps to the numbers of regions."""
