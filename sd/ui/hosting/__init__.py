"""The page among strangers: who looks at it, what is theirs, and how much of it they may use.

On one's own machine nothing of this is at work. No tab is known here.
"""
