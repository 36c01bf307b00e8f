"""Runs the steps of jobs without processes; test_children.py has those, tests/acceptance both."""


class Inline:
    """Runs steps where they are."""

    def start(self):
        """There is nothing to start."""

    def stop(self):
        """There is nothing to stop."""

    def ready(self):
        return 1

    def run(self, step, *arguments, alone=False):
        step(*arguments)
