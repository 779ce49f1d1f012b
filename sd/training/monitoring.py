"""What a run shows and measures of itself on the way, in numbers. No torch.

Samples are drawn of both sets of weights on fixed noises; the error of the averaged weights is
measured on fixed pictures and noises.
"""

SAMPLE_COUNT, SAMPLE_STEPS = 16, 25  # samples of one grid, and the steps of each
LORA_STEPS = 12  # of each sample of a LoRA, whose model is large
LEVELS, EVALUATED = 10, 32  # noise levels, and pictures at each
PREPARING = ("ingest", "first_stage", "encode")  # events before the first step: how far each is
EARLY_STEPS = 6  # of the quick samples early in a run, of one set of weights
