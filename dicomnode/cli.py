"""The command line: one small function per sub-command."""
