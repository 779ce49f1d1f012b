"""The player's words in English, for the page and for a file alike.

Other languages are the page's, in its locale files.
"""

PLAYER_TEXTS = {
    "title": "From noise to picture, step by step",
    "made": "How these pictures were made",
    "player": "Player of the steps",
    "view": "What is shown",
    "view_both": "both",
    "view_x_t": "x_t",
    "view_x0": "x0",
    "view_eps": "eps",
    "view_change": "change",
    "caption_both": "left: x_t, right: the expected end",
    "caption_x_t": "x_t: the picture on its way",
    "caption_x0": "x0: what the model expects at the end",
    "caption_eps": "eps: the noise the model sees, shown as eps / 3",
    "caption_change": "change: where this step moved x_t, white for 3 times its norm",
    "alt_x_t": "step {i} of {n}, x_t at t = {t}",
    "alt_x0": "step {i} of {n}, x0 estimate",
    "alt_eps": "step {i} of {n}, eps estimate",
    "alt_change": "step {i} of {n}, change of x_t",
    "where": "step {i} of {n}",
    "picture": "Picture {n}",
    "brush": "Paint what is drawn anew (inpaint)",
    "enlarged": "The picture enlarged",
    "close": "Close",
    "divider": "Divider between left and right",
    "compare": "left: this one, right: {other}",
    "tree": "Samplings to compare with",
    "menu": "View, speed and numbers",
    "waiting": "waiting for the first step",
    "step": "Step",
    "play": "Play",
    "pause": "Pause",
    "back": "One step back",
    "forward": "One step forward",
    "loop": "Loop",
    "speed": "Speed",
    "steps": "Steps on the way",
    "go": "Go to step {i}",
    "t": "t",
    "t_info": "Where the step ends on the way from noise, the largest t, to the picture at t = 0.",
    "norm_x_t": "x_t norm",
    "norm_x_t_info": "Root mean square of x_t's values: pure noise has 1.",
    "norm_x0": "x0 norm",
    "norm_x0_info": (
        "Root mean square of the expected picture's values: pixels lie between -1 and 1, latents "
        "spread by about 1."
    ),
    "norm_eps": "eps norm",
    "norm_eps_info": (
        "Root mean square of the noise that the model sees in x_t: about 1 if it sees well."
    ),
    "change": "change",
    "change_info": "Root mean square of what the last step changed in x_t.",
    "log_snr": "log SNR",
    "log_snr_info": (
        "Natural logarithm of the picture's power over the noise's at this t; 0 is half and half."
    ),
    "clipped": "x0 clipped",
    "clipped_info": "Share of x0's values that were cut to the range that pictures have.",
    "late": "A part of the film is late; asking again.",
    "lost": "A part of the film did not arrive.",
    "again": "Ask again",
}
