"""The three looks of the app: dark, light, and one for eyes that need contrast."""

from __future__ import annotations

from textual.theme import Theme

DEFAULT = "rolekit-dark"

THEMES: tuple[Theme, ...] = (
    Theme(
        name="rolekit-dark",
        primary="#e3ae6b",
        secondary="#e3ae6b",
        accent="#e3ae6b",
        warning="#e5c07b",
        error="#ef8079",
        success="#9dbf84",
        foreground="#dcd8cf",
        background="#16181d",
        surface="#1c1f26",
        panel="#262a33",
        dark=True,
        variables={
            "quiet": "#979ba6",
            "rule": "#3a3f4b",
            "block-cursor-background": "#e3ae6b",
            "block-cursor-foreground": "#16181d",
            "block-cursor-blurred-background": "#2b303b",
            "block-cursor-blurred-foreground": "#dcd8cf",
        },
    ),
    Theme(
        name="rolekit-light",
        primary="#8a4b08",
        secondary="#8a4b08",
        accent="#8a4b08",
        warning="#7a5b00",
        error="#a8201a",
        success="#3c6e2c",
        foreground="#2a2723",
        background="#faf7f1",
        surface="#f3eee4",
        panel="#e7dfd0",
        dark=False,
        variables={
            "quiet": "#6b645a",
            "rule": "#cfc6b6",
            "block-cursor-background": "#8a4b08",
            "block-cursor-foreground": "#faf7f1",
            "block-cursor-blurred-background": "#e3d9c6",
            "block-cursor-blurred-foreground": "#2a2723",
        },
    ),
    Theme(
        name="rolekit-contrast",
        primary="#ffd75f",
        secondary="#ffd75f",
        accent="#ffd75f",
        warning="#ffff5f",
        error="#ff8787",
        success="#87ff87",
        foreground="#ffffff",
        background="#000000",
        surface="#000000",
        panel="#1c1c1c",
        dark=True,
        variables={
            "quiet": "#d0d0d0",
            "rule": "#9e9e9e",
            "block-cursor-background": "#ffd75f",
            "block-cursor-foreground": "#000000",
            "block-cursor-blurred-background": "#444444",
            "block-cursor-blurred-foreground": "#ffffff",
        },
    ),
)

NAMES = tuple(theme.name for theme in THEMES)
