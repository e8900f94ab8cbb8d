"""How pages look: the stylesheet, and light or dark."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from nicegui import context, ui

ASSETS = Path(__file__).parent / "assets"
ASSETS_PATH = "/dashboard-assets"
THEME_COOKIE = "evolve_theme"
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<rect width="32" height="32" rx="7" fill="#0072b2"/>'
    '<path d="M6 23 13 15l5 4 8-10" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round" '
    'stroke-linejoin="round"/><circle cx="26" cy="9" r="3.2" fill="#ffb27a"/></svg>'
)

_THEMES = {"auto": None, "light": False, "dark": True}


def apply() -> ThemeSwitch:
    """Dress the page that is being built, in the theme that the reader chose."""
    ui.add_head_html(f'<link rel="stylesheet" href="{stylesheet()}">')
    chosen = context.client.request.cookies.get(THEME_COOKIE, "auto")
    return ThemeSwitch(chosen if chosen in _THEMES else "auto")


@cache
def stylesheet() -> str:
    """Address of the stylesheet, another one whenever its content is another."""
    digest = hashlib.sha256((ASSETS / "dashboard.css").read_bytes()).hexdigest()
    return f"{ASSETS_PATH}/dashboard.css?{digest[:12]}"


class ThemeSwitch:
    """Light, dark, or as the system is.

    Args:
        chosen: `auto`, `light` or `dark`.
    """

    def __init__(self, chosen: str) -> None:
        self.chosen = chosen
        self._dark = ui.dark_mode(_THEMES[chosen])

    def choose(self, theme: str) -> None:
        """Change the theme here and now, and remember it in the browser."""
        if theme not in _THEMES:
            return
        self.chosen = theme
        self._dark.value = _THEMES[theme]
        ui.run_javascript(f'document.cookie = "{THEME_COOKIE}={theme}; path=/; max-age=31536000; samesite=lax"')
