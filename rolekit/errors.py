"""The one exception that is meant for the user's eyes."""

from __future__ import annotations


class RolekitError(Exception):
    """Something the user can fix: one sentence what happened, one what to do next.

    The command line prints it and exits 1, the TUI shows it once. Anything else that is raised is a bug and
    keeps its traceback.
    """

    def __init__(self, what_happened: str, what_to_do: str) -> None:
        """Two whole sentences; what_to_do may begin with a line break, or be empty."""
        super().__init__(what_happened, what_to_do)
        self.what_happened = what_happened
        self.what_to_do = what_to_do

    def __str__(self) -> str:
        """Both sentences, as they are shown."""
        gap = "" if self.what_to_do.startswith("\n") else " "
        return f"{self.what_happened}{gap}{self.what_to_do}".strip()
