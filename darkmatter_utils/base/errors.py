"""The one exception for input a user can correct."""

import errno

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, a full quota, a limit on the size of files."""


class BadInput(ValueError):
    """Input that cannot be used: one line that says what is wrong, what was expected and what to do.

    The command line prints the line and exits with status 2; a notebook shows it as the error's message.
    """


def nearest(name: str, choices, *, limit: int = 3) -> str:
    """A clause that names the valid choices closest to ``name``, for an error line."""
    import difflib

    choices = [str(choice) for choice in choices]
    close = difflib.get_close_matches(str(name), choices, n=limit, cutoff=0.3) or choices[: 2 * limit]
    return "nearest valid names: " + ", ".join(close) if close else "there are none"
