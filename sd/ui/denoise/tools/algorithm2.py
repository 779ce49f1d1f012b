"""Algorithm 2 (Ho et al. 2020), line by line, with the real numbers of one step at one pixel.

The other samplers run the same loop with an update line of their own. Symbols are those of the
table in `sd.diffusion.schedule`; the step goes from t to s < t, with alpha_{t|s} = alpha_bar_t /
alpha_bar_s.
"""

import math
import re
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr
from markupsafe import Markup, escape

from sd.common.validation import InputError
from sd.diffusion.schedule import Schedule
from sd.generation.recipe import Recipe
from sd.ui import models
from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import HIDDEN, PANEL, QUIET, guarded, language
from sd.ui.components.html import paragraph, tags
from sd.ui.components.tools import tool_fold
from sd.ui.denoise.job import StepCache, steps_of
from sd.ui.denoise.samplers import SAMPLER_NAMES
from sd.ui.denoise.tools.bar import NUMBERS
from sd.ui.denoise.tree import Tree
from sd.ui.state import shared
from sd.ui.texts import say

if TYPE_CHECKING:
    from sd.data.space import Space

DECIMALS = 4  # of pixel values and noises
SIGNIFICANT = 5  # digits of factors, so that the line reproduces its result
RESULT = 3  # decimals of what the line gives
STEEPEST = 4.0  # 1 / sqrt(alpha) above which the forms that divide by sqrt(alpha) are not printed
PIXELS = ("x_t", "x0", "eps", "z")
CORRECTED = {"heun": "first", "dpmpp_2m": "history", "unipc": "history"}
DIVIDES = ("ddpm", "euler", "heun", "euler_ancestral")  # by sqrt(alpha), unless it is too small
RGB = ("red", "green", "blue")
CHANNELS = {1: ("grey",), 3: (*RGB,), 4: (*RGB, "opacity")}
LETTERS = {  # of each quantity: letter and index; {down} is s or t-1, {across} t|s or t
    "x_t": ("x", "t"),
    "x_s": ("x", "{down}"),
    "x0": ("x", "0"),
    "eps": ("ε", ""),
    "z": ("z", ""),
    "alpha_bar_t": ("ᾱ", "t"),
    "alpha_bar_s": ("ᾱ", "{down}"),
    "alpha": ("α", "{across}"),
    "beta": ("β", "{across}"),
    "sigma": ("σ", ""),
    "c_0": ("c", "0"),
    "c_t": ("c", "t"),
    "sigma_t": ("σ", "t"),
    "sigma_s": ("σ", "{down}"),
    "sigma_down": ("σ", "down"),
    "sigma_up": ("σ", "up"),
    "shrink": ("r", ""),
    "e_h": (Markup("e<sup>−h</sup>"), ""),
}
FACTORS = {  # of the update lines, in those quantities; [...] is under a root
    "gain": "1/√[{alpha}]",
    "share": "{beta}/√[1 − {alpha_bar_t}]",
    "signal_t": "√[{alpha_bar_t}]",
    "signal_s": "√[{alpha_bar_s}]",
    "along": "√[1 − {alpha_bar_s}]",
    "along_noisy": "√[1 − {alpha_bar_s} − {sigma}²]",
    "fall": "({sigma_s} − {sigma_t})",
    "fall_far": "({sigma_down} − {sigma_t})",
    "rest": "(1 − {e_h})",
}


BLANK = '<i class="blank"></i>'  # never changes, so gradio never touches what the player puts here
# They are brought whenever this comes into sight or loses them: a player that does not find the
# place yet takes them back.
TAKE_NUMBERS = """const place = element.closest("#denoise-player-numbers");
const player = () => document.querySelector("#denoise-player .sd-player");
const take = () => place.querySelector(".sdp-numbers-box")
  || player()?.dispatchEvent(new CustomEvent("sdp-numbers", { detail: place }));
new ResizeObserver(take).observe(place);
new MutationObserver(take).observe(place, { childList: true, subtree: true });"""


class StepNumbers(NamedTuple):
    """Step i of `total`, from t to s, at one pixel of the standard process (noise mean 0, std 1).

    `before` and `after` are the pixel's x_t and x_s, `x0` and `eps` the estimate that the step
    used, as a `SampleStep` holds them. `large`: DDPM's larger variance. `eta` serves ddim alone.
    """

    sampler: str
    i: int
    total: int
    t: float
    s: float
    schedule: Schedule
    eta: float
    large: bool
    before: float
    after: float
    x0: float
    eps: float
    name_of_pixel: str


class Form(NamedTuple):
    """An update line, filled once with symbols and once with numbers; rows: what to explain.

    Whatever a row's text names is a row as well.
    """

    line: str
    rows: tuple[str, ...]


NOISE = " + {sigma} · {z}"
PAPER = Form(  # Algorithm 2, line 4
    "{gain} · ({x_t} − {share} · {eps})" + NOISE,
    ("x_t", "eps", "alpha_bar_t", "alpha", "beta", "sigma", "z"),
)
POSTERIOR = Form(  # the same by DDPM's eq. 7
    "{c_0} · {x0} + {c_t} · {x_t}" + NOISE, ("x_t", "x0", "c_0", "c_t", "sigma", "z")
)
DDIM = Form("{signal_s} · {x0} + {along} · {eps}", ("x_t", "x0", "eps", "alpha_bar_s"))  # eq. 12
DDIM_NOISY = Form(
    "{signal_s} · {x0} + {along_noisy} · {eps}" + NOISE,
    ("x_t", "x0", "eps", "alpha_bar_s", "sigma", "z"),
)
EULER = Form(  # Karras et al. 2022, Algorithm 1 without churn, for x / sqrt(alpha_bar)
    "{signal_s} · ({x_t} / {signal_t} + {fall} · {eps})",
    ("x_t", "eps", "alpha_bar_t", "alpha_bar_s", "sigma_t", "sigma_s"),
)
ANCESTRAL = Form(  # the same down to sigma_down, then noise back up to sigma_s
    "{signal_s} · ({x_t} / {signal_t} + {fall_far} · {eps} + {sigma_up} · {z})",
    ("x_t", "eps", "alpha_bar_t", "alpha_bar_s", "sigma_t", "sigma_down", "sigma_up", "z"),
)
CONSISTENCY = Form(  # Luo et al. 2023, Algorithm 3
    "{signal_s} · {x0}" + NOISE, ("x_t", "x0", "eps", "alpha_bar_s", "sigma", "z")
)
SOLVER = Form(  # Lu et al. 2022, DPM-Solver++, eq. 9 with k = 1
    "{shrink} · {x_t} + {signal_s} · {rest} · {x0}",
    ("x_t", "x0", "alpha_bar_t", "alpha_bar_s", "shrink", "e_h"),
)


def algorithm_html(step: StepNumbers, lang: str) -> Markup:
    """Return the algorithm as HTML, this step's numbers in it and the running line marked."""
    values, form, symbols = _values(step), _form(step), _symbols(step, lang)
    key = "algorithm2_paper" if step.sampler == "ddpm" else "algorithm2_other"
    lines = (
        Markup("x<sub>T</sub> ~ N(0, I)") + _small(_begun(step, lang)),
        escape(say("algorithm2_for", lang)) + _small(_loop(step, lang)),
        _noise(step, values, lang),
        _update(step, form, values, symbols, lang),
        say("algorithm2_end", lang),
        Markup("{} x<sub>0</sub>{}").format(
            say("algorithm2_return", lang), _small(_ended(step, lang))
        ),
    )
    inner, now = Markup(' class="inner"'), Markup(' class="inner now" aria-current="step"')
    item = Markup("<li{}>{}</li>")
    items = Markup("").join(map(item.format, ("", "", inner, now, "", ""), lines))
    meanings = Markup("").join(_meaning(key, values, symbols, lang) for key in form.rows)
    return Markup('<div class="algorithm"><p>{}</p><ol>{}</ol><dl>{}</dl></div>').format(
        say(key, lang, sampler=SAMPLER_NAMES[step.sampler], pixel=step.name_of_pixel),
        items,
        meanings,
    )


def pixel_name(space: "Space", channel: int, row: int, column: int, picture: int, lang: str) -> str:
    """Return the name of a pixel; row, column and picture are counted from 1, channel from 0."""
    channels = space.latent_shape[0]
    if space.latent_shape == space.picture_shape:
        name = say(f"algorithm2_{CHANNELS[channels][channel]}", lang)
    else:
        name = say("algorithm2_channel", lang, k=channel + 1, n=channels)
    return say("algorithm2_pixel", lang, channel=name, row=row, column=column, picture=picture)


def _small(text: str) -> Markup:
    return tags("small", [_lowered(text)]) if text else Markup("")


def _lowered(text: str) -> Markup:
    """Set the index of x_t and the like below the line."""
    return Markup(re.sub(r"_(\w)(?![a-z])", r"<sub>\1</sub>", str(escape(text))))


def _glued(line: str) -> str:
    """Let a line break between terms, never within a product."""
    return line.replace(" · ", "\u00a0·\u00a0").replace(" / ", "\u00a0/\u00a0")


def _begun(step: StepNumbers, lang: str) -> str:
    """Return what line 1 gave, if this is the first step."""
    if step.i > 1:
        return ""
    value = number(step.before, DECIMALS)
    if step.t == step.schedule.timesteps:
        return say("algorithm2_here", lang, value=value)
    return say("algorithm2_begun_at", lang, t=f"{step.t:g}", value=value)


def _loop(step: StepNumbers, lang: str) -> str:
    """Return which round of the loop this is."""
    times = {"t": f"{step.t:g}", "s": f"{step.s:g}"}
    line = say("algorithm2_step", lang, i=step.i, total=step.total, **times)
    return line if step.t - step.s == 1 else line + say("algorithm2_leap", lang)


def _noise(step: StepNumbers, values: dict[str, float], lang: str) -> str | Markup:
    """Return line 3: the noise of this step, found from what the step made."""
    if not _eta(step):
        return say("algorithm2_none", lang, sampler=SAMPLER_NAMES[step.sampler])
    if step.s > 0:
        note = say("algorithm2_drawn", lang, value=number(values["z"], DECIMALS))
    else:
        note = say("algorithm2_last", lang)
    key = "algorithm2_if" if step.t - step.s == 1 else "algorithm2_if_leap"
    return escape(say(key, lang)) + _small(note)


def _update(
    step: StepNumbers, form: Form, values: dict[str, float], symbols: dict[str, Markup], lang: str
) -> Markup:
    """Return line 4: the update in symbols, in numbers, and what it gives."""
    left = values["x_s"] - values["first"]
    corrected = CORRECTED.get(step.sampler, "rest" if abs(left) >= 10**-RESULT else "")
    numbers, notes = _filled(form, values), []
    if corrected:
        first, more = number(values["first"], DECIMALS), number(left, DECIMALS)
        numbers += f" + ({more})" if more[0] == "−" else f" + {more}"
        notes.append(say(f"algorithm2_{corrected}", lang, first=first, rest=more))
    if _steep(step):
        notes.append(say("algorithm2_steep", lang))
    return Markup(
        '<span>{} = {}</span><span class="values">= {}</span>'
        '<span class="values">= <b class="result">{}</b></span>{}'
    ).format(
        symbols["x_s"],
        _glued(Markup(form.line).format(**symbols)),
        _glued(numbers),
        number(step.after, RESULT),
        Markup("").join(_small(note) for note in notes),
    )


def _ended(step: StepNumbers, lang: str) -> str:
    """Return what line 6 gives, if this is the last step."""
    if step.s > 0:
        return ""
    return say("algorithm2_here", lang, value=number(step.after, RESULT))


def _meaning(key: str, values: dict[str, float], symbols: dict[str, Markup], lang: str) -> Markup:
    """Return a symbol, its number and what it is, as one row."""
    row = Markup('<div><dt>{}</dt><dd class="number">{}</dd><dd>{}</dd></div>')
    text = number(values[key], DECIMALS if key in PIXELS else 0)
    return row.format(symbols[key], text, _lowered(say(f"algorithm2_{key}", lang)))


def _eta(step: StepNumbers) -> float:
    """Return DDIM's eta that belongs to the sampler: 1 adds as much noise as DDPM."""
    if step.sampler == "ddim":
        return step.eta
    return 1.0 if step.sampler in ("ddpm", "euler_ancestral", "lcm") else 0.0


def _steep(step: StepNumbers) -> bool:
    """Tell whether x_t weighs so little that a division by sqrt(alpha) would lose the digits."""
    a, a_s = step.schedule.signal([step.t, step.s])
    return step.sampler in DIVIDES and bool(a * STEEPEST < a_s)


def _form(step: StepNumbers) -> Form:
    steep = _steep(step)
    if step.sampler == "ddpm":
        return POSTERIOR if steep else PAPER
    if step.sampler == "lcm":
        return CONSISTENCY
    if step.sampler in ("dpmpp_2m", "unipc"):
        return SOLVER
    if step.sampler == "ddim" or steep:
        return DDIM_NOISY if _eta(step) else DDIM
    return ANCESTRAL if step.sampler == "euler_ancestral" else EULER


def _values(step: StepNumbers) -> dict[str, float]:
    """Return the number of each quantity and factor, of the noise z, and of x_s without it."""
    numbers = _factors(step)
    # DDIM's eq. 12 is the first order of every rule, and DDPM's mean that of eta = 1.
    mean = numbers["signal_s"] * step.x0 + numbers["along"] * step.eps
    sigma = numbers["sigma"]
    z = (step.after - mean) / sigma if sigma and step.s > 0 else 0.0
    pixel = {"x_t": step.before, "x0": step.x0, "eps": step.eps, "x_s": step.after}
    return numbers | pixel | {"z": z, "first": mean + sigma * z}


def _factors(step: StepNumbers) -> dict[str, float]:
    """Return what the schedule and the sampler alone decide; infinite where SNR is 0."""
    schedule, t, s = step.schedule, step.t, step.s
    (a, a_s), (b, b_s) = (f([t, s]).tolist() for f in (schedule.signal, schedule.noise))
    beta, posterior = schedule.step_beta(t, s), schedule.posterior(t, s)
    anew = step.sampler == "lcm"  # all of the noise
    least = b_s**2 if anew else _eta(step) ** 2 * posterior.variance
    sigma = math.sqrt(beta if step.large and step.sampler == "ddpm" else least)
    along = math.sqrt(max(b_s**2 - least, 0.0))
    sigma_t, e_h = b / a if a else math.inf, a * b_s / (b * a_s)
    numbers = {"alpha_bar_t": a**2, "alpha_bar_s": a_s**2, "alpha": 1 - beta, "beta": beta}
    numbers |= {"signal_t": a, "signal_s": a_s, "sigma_t": sigma_t, "sigma_s": b_s / a_s}
    numbers |= {"gain": a_s / a if a else math.inf, "share": beta / b, "sigma": sigma}
    numbers |= {"along": along, "along_noisy": along, "c_0": posterior.x0, "c_t": posterior.x_t}
    numbers |= {"sigma_down": along / a_s, "sigma_up": sigma / a_s, "shrink": b_s / b, "e_h": e_h}
    fall = along / a_s - sigma_t
    return numbers | {"fall": fall, "fall_far": fall, "rest": 1 - e_h}


def _symbols(step: StepNumbers, lang: str) -> dict[str, Markup]:
    """Return each quantity and factor as HTML; a quantity says on hover what it is."""
    near = step.t - step.s == 1
    places = {"down": "t−1" if near else "s", "across": "t" if near else "t|s"}
    symbol = Markup('<abbr title="{}">{}{}</abbr>')
    marks = {}
    for key, (letter, index) in LETTERS.items():
        low = tags("sub", [index.format(**places)]) if index else ""
        marks[key] = symbol.format(say(f"algorithm2_{key}", lang), letter, low)
    for key, line in FACTORS.items():
        under = line.replace("[", '<span class="root">').replace("]", "</span>")
        marks[key] = Markup(under).format(**marks)
    return marks


def number(value: float, decimals: int = 0) -> str:
    """Return a number with a true minus, with so many decimals or else `SIGNIFICANT` digits."""
    if value == 0:
        return "0"
    if not decimals:
        size = math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0
        decimals = max(0, SIGNIFICANT - 1 - max(size, -SIGNIFICANT))
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def _filled(form: Form, values: dict[str, float]) -> str:
    """Return the line with numbers; a negative one in brackets unless nothing stands before it."""
    texts = {key: number(value, DECIMALS if key in PIXELS else 0) for key, value in values.items()}
    bracketed = {key: f"({text})" if text[0] == "−" else text for key, text in texts.items()}
    return re.sub(r"(^|\()\((−[\d.]+)\)", r"\1\2", form.line.format(**bracketed))


# ---- on the page


@guarded
def show_numbers(request: gr.Request, tree: Tree, is_open: bool = True) -> Iterator[Updates]:
    """Show the algorithm at the step where the slider rests, with one pixel's numbers.

    Steps that are not kept, as those of an example, are made again first, and that is told. Unless
    the fold is open nothing is done.
    """
    if not is_open:
        return
    lang = language(request)
    if not tree.nodes:
        yield {"algorithm": paragraph(say("tool_waits", lang))}
        return
    node = tree.current
    i = max(1, min(tree.place or 1, node.recipe.steps))
    if len(shared(StepCache).steps(node.recipe)) < i:
        yield {"algorithm": paragraph(say("algorithm2_again", lang))}
    yield {"algorithm": algorithm_html(step_numbers(node.recipe, i, lang), lang)}


def step_numbers(recipe: Recipe, i: int, lang: str) -> StepNumbers:
    """Return the numbers of one pixel at step i: kept ones, else the sampling is made again."""
    from sd.data.space import factor_of
    from sd.generation.pipeline import pick_pixel, sampling_of

    source = models.open_recipe_model(recipe)
    deque(steps_of(recipe, i), maxlen=0)  # so that they are kept
    cache = shared(StepCache)
    kept, x = cache.steps(recipe), cache.before(recipe, i)
    if x is None or len(kept) < i:
        raise InputError(f"step {i} of {recipe.steps}: too large to be kept; take fewer pictures")
    step = kept[i - 1]
    times = [*sampling_of(recipe, source).times, 0.0]
    factor = factor_of(source.space)
    row, column = (at // factor for at in pick_pixel(recipe, source.space.picture_shape))
    place = (0, 0, row, column)
    process = source.diffusion
    before = process.to_w(x, times[i - 1])
    after = process.to_w(step.x_t, times[i])
    return StepNumbers(
        sampler=recipe.sampler,
        i=i,
        total=recipe.steps,
        t=times[i - 1],
        s=times[i],
        schedule=process.schedule,
        eta=recipe.eta,
        large=recipe.variance == "fixed_large",
        before=float(before[place]),
        after=float(after[place]),
        x0=float(process.to_w(step.x0, 0)[place]),
        eps=float(step.eps[place]),
        name_of_pixel=pixel_name(source.space, 0, row + 1, column + 1, 1, lang),
    )


def build() -> tuple[gr.Accordion, gr.HTML]:
    """Lay out the player's numbers and the algorithm."""
    with tool_fold(NUMBERS) as fold:
        gr.HTML(html_template=BLANK, js_on_load=TAKE_NUMBERS, elem_id="denoise-player-numbers")
        return fold, gr.HTML(elem_classes="algorithm", elem_id="algorithm2-panel")


def wire(fold: gr.Accordion, algorithm: gr.HTML, moved: Any, tree: gr.State) -> None:
    """Show the numbers when the fold opens, and while it is open whenever the slider rests."""
    is_open = gr.State(False)
    queued: dict[str, Any] = {"api_visibility": "private", **HIDDEN, **PANEL}
    inputs, outputs = {"tree": tree, "is_open": is_open}, {"algorithm": algorithm}
    fold.collapse(lambda: False, None, is_open, **QUIET)
    for event in (fold.expand(lambda: True, None, is_open, **QUIET), moved):
        event.then(**by_name(show_numbers, inputs, outputs), **queued)
