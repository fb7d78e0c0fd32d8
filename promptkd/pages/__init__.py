"""Pages that hold all they need: one style for reports, data and explanations, no network, every name escaped."""

from __future__ import annotations

from html import escape
from pathlib import Path

from promptkd.texts import plain

STYLE = Path(__file__).with_name("page.css")
# Nothing but what the page holds may be loaded.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def document(title: str, body: str, script: str = "") -> str:
    """A whole page.

    Args:
        title: of the window.
        body: HTML, in which names are escaped already; characters that would turn or hide text are written out here.
        script: of the page, or "".
    """
    content = plain(body, lines=True)  # names turn no text around, and hide none
    script = f"<script>{script}</script>" if script else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        'content="light dark"><link rel="icon" href="data:,">'
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head><body>{content}{script}</body></html>\n"
    )


def fold(title: str, content: str, note: str = "", opened: bool = False) -> str:
    """A part of a page that opens at a click; the note stands behind its title."""
    note = f" <span>{escape(note)}</span>" if note else ""
    return f'<details class="fold"{" open" * opened}><summary>{escape(title)}{note}</summary>{content}</details>'
