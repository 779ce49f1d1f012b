"""Parts of the page that several tabs share: widgets, theme, curves, player, painter.

No tab is known here.
"""
