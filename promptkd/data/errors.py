"""Errors as one line, for a report or a command."""

from __future__ import annotations

from promptkd.texts import plain


def one_line(error: Exception) -> str:
    """An error's message in one line, with its type where the message alone would not explain it."""
    if isinstance(error, PermissionError) and error.filename:
        return plain(f"{error.filename}: {error.strerror}; see its permissions")
    text = plain(" ".join(str(error).split()))
    return text if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {text}"
