"""Quality over time: what each exam says of its scanner, kept as rows, and the control charts that are made of them."""
