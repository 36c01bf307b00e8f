"""What earlier results of the same organ of a patient say of a new one: values, rules, nothing that opens a network."""
