"""The life of a result: what it is made from, how it is run, where it stands."""
