"""The page: one package per tab over what they share; only here gradio is imported.

Everything that computes lives below, and does the same from the command line.
"""
