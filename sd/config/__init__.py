"""Settings as frozen dataclasses, ini in and out, and the presets.

Nothing here knows torch: whoever describes a training need not be able to run it.
"""

from sd.config.config import KEYS, PRESETS, SECTIONS, Config, about, preset_about, preset_names

__all__ = ["KEYS", "PRESETS", "SECTIONS", "Config", "about", "preset_about", "preset_names"]
