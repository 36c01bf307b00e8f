"""A support bundle: what a vendor needs to see of a node, without whose images it was given."""

from dicomnode.operate.support.bundle import Bundle, Wanted, write

__all__ = ["Bundle", "Wanted", "write"]
