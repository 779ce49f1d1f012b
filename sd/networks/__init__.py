"""What is trained: U-Net, attention, text encoder, conditioning, and their blueprint.

No network knows a picture set or a sampler.
"""
