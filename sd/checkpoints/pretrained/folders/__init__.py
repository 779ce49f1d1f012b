"""Folders of diffusers: their parts, and the code that goes along with a model of our own."""
