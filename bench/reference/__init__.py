"""The documents about the configuration and the commands that are made from them."""
