"""Where theory breaks: the mean of a chain whose steps add noise of another mean."""

import numpy as np
from markupsafe import Markup

from sd.ui.components import curves
from sd.ui.components.html import paragraph
from sd.ui.noise import schedules
from sd.ui.texts import say


def means_html(schedule: str, mean: float, lang: str) -> Markup:
    """Return the two means over t: of the chain of steps, and by the closed form."""
    from sd.diffusion.analysis import naive_means

    if mean == 0:
        return paragraph(say("break_none", lang))
    noising = schedules.read_schedule(schedule)
    times = np.arange(noising.timesteps + 1)
    chain, closed = naive_means(noising, mean), noising.noise(times) * mean
    far = int(np.abs(chain - closed).argmax())
    numbers = {"chain": f"{chain[far]:.3g}", "closed": f"{closed[far]:.2f}"}
    line = say("break_told", lang, mean=f"{mean:g}", t=far, **numbers)
    x = curves.thin(times / noising.timesteps)
    sign = np.sign(mean)  # the axis starts at 0 whichever way the mean goes
    lines = [
        curves.Line(x, curves.thin(sign * chain), "accent", say("break_chain", lang)),
        curves.Line(x, curves.thin(sign * closed), "line", say("break_closed", lang)),
    ]
    curve = curves.plot(lines, line, [(0, "t = 0"), (1, f"{noising.timesteps}")], log=False)
    plot = Markup('<div class="trip">{}</div>').format(curve)
    return plot + paragraph(line, "told")
