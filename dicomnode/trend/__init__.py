"""What earlier results of the same patient say of a new one: values, rules, nothing that opens a network."""
