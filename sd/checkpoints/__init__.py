"""A model, and a model on disk: safetensors and readable text, never pickle.

Whoever trains or samples lives above.
"""
