"""What samplers are called on the page, and what its fields begin with.

Files, commands and the API have the samplers' plain names.
"""

from sd.diffusion.timesteps import SAMPLERS

SAMPLER_NAMES = {
    "ddim": "DDIM",
    "ddpm": "DDPM",
    "euler": "Euler",
    "euler_ancestral": "Euler a",
    "heun": "Heun",
    "dpmpp_2m": "DPM-Solver++",
    "unipc": "UniPC",
    "lcm": "LCM",
}
FIRST_SAMPLER, FIRST_STEPS = "dpmpp_2m", 25  # as near to the end as 50 steps of ddim, measured
FIRST_COUNT, FIRST_GUIDANCE = 4, 2.0
SAMPLER_CHOICES = tuple((SAMPLER_NAMES[name], name) for name in SAMPLERS)


def plain_name(word: str) -> str:
    """Return the plain name of a sampler that is called as on the page, else the word itself."""
    plain = {called.casefold(): name for name, called in SAMPLER_NAMES.items()}
    return plain.get(word.strip().casefold(), word)
