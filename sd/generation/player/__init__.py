"""The player of films: a script, a style sheet and a page of its own; `words` has its texts."""
