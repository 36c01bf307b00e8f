"""An organ and a method for the liver iron node: the smallest that work, to copy from."""
