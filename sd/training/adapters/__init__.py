"""A LoRA in training: what it is for, and where it begins."""
