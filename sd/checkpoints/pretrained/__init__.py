"""Published models in files: Stable Diffusion v1 and v2 and what is built like them.

What a file holds is told by its header alone, names and shapes, never by its own name and never by
a configuration that would have to be fetched. Nothing in a file is ever run.
"""
