"""How long a run trains, with which settings, and what they come to."""
