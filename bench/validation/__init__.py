"""Every figure that the documents state, from one record of what was run: ``make validation``."""
