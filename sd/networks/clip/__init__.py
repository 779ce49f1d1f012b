"""CLIP's text encoder, by which Stable Diffusion reads prompts, and the prompts' grammar."""
