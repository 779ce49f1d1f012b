"""The look: neutral greys, one accent that means "this is what you can move", system fonts."""

import gradio as gr
from gradio.themes.utils.colors import Color
from gradio.themes.utils.sizes import Size

from sd.common.paths import PACKAGE
from sd.generation.player import one_file

ASSETS = PACKAGE / "ui" / "assets"
PAGE_STYLES = (
    "theme.css",
    "head.css",
    "fields.css",
    "train.css",
    "noise.css",
    "painter.css",
    "looked.css",
    "tools.css",
    "denoise.css",
    "published.css",
    "gradio.css",
)
STYLES = (*(ASSETS / name for name in PAGE_STYLES), one_file.PLAYER / "player.css")
PAGE_SCRIPTS = (
    "elements.js",
    "address.js",
    "head.js",
    "fields.js",
    "doors.js",
    "minutes.js",
    "tools.js",
    "verbs.js",
    "noise_draw.js",
    "noise.js",
    "noise_form.js",
    "noise_tools.js",
    "painter.js",
    "looked.js",
    "train.js",
    "opening.js",
    "added.js",
    "told.js",
    "prompt.js",
    "inpaint.js",
    "starters.js",
)
SCRIPTS = (
    *(ASSETS / name for name in PAGE_SCRIPTS),
    *(one_file.PLAYER / name for name in one_file.SCRIPTS),
)
CSS_FILES = [path for path in STYLES if path.exists()]
SCRIPT_FILE = ASSETS / "keys.js"

ACCENT = Color(
    name="accent",
    c50="#eef3fc",
    c100="#dde7f9",
    c200="#bdd0f3",
    c300="#93b1ea",
    c400="#7ba3f0",
    c500="#2f62c9",
    c600="#2756b5",
    c700="#214a9c",
    c800="#1b3c80",
    c900="#152f64",
    c950="#0d1f44",
)
ONE_SIZE = Size(
    name="text_one",
    xxs="12px",
    xs="12px",
    sm="13px",
    md="15px",
    lg="15px",
    xl="22px",
    xxl="26px",
)
SYSTEM_FONTS = (
    "system-ui",
    "-apple-system",
    "Segoe UI",
    "PingFang SC",
    "Microsoft YaHei",
    "sans-serif",
)
SYSTEM_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
VALUES = {
    "body_background_fill": "#fbfbfa",
    "body_background_fill_dark": "#131312",
    "block_background_fill": "transparent",
    "block_background_fill_dark": "transparent",
    "block_border_width": "0px",
    "block_border_width_dark": "0px",
    "block_padding": "0px",
    "block_radius": "6px",
    "block_shadow": "none",
    "block_shadow_dark": "none",
    "block_title_text_weight": "500",
    "block_title_text_size": "15px",
    "block_title_text_color": "*neutral_800",
    "block_title_text_color_dark": "*neutral_100",
    "block_info_text_size": "13px",
    "block_info_text_color": "*neutral_600",
    "block_info_text_color_dark": "*neutral_400",
    "block_label_background_fill": "transparent",
    "block_label_background_fill_dark": "transparent",
    "layout_gap": "20px",
    "form_gap_width": "0px",
    "input_background_fill": "#ffffff",
    "input_background_fill_dark": "#1d1d1d",
    "input_border_color": "*neutral_300",
    "input_border_color_dark": "*neutral_700",
    "input_border_color_focus": "*input_border_color",  # the outline is the one ring
    "input_border_color_focus_dark": "*input_border_color",
    "input_border_width": "1px",
    "input_shadow": "none",
    "input_text_size": "15px",
    "button_primary_background_fill": "*primary_500",
    "button_primary_background_fill_hover": "*primary_600",
    "button_primary_background_fill_dark": "*primary_400",
    "button_primary_background_fill_hover_dark": "*primary_300",
    "button_primary_text_color": "#ffffff",
    "button_primary_text_color_dark": "#10151f",
    "button_secondary_background_fill": "transparent",
    "button_secondary_background_fill_dark": "transparent",
    "button_secondary_background_fill_hover": "*neutral_100",
    "button_secondary_background_fill_hover_dark": "*neutral_800",
    "button_secondary_border_color": "*neutral_300",
    "button_secondary_border_color_dark": "*neutral_600",
    "button_border_width": "1px",
    "button_large_text_weight": "500",
    "button_large_text_size": "15px",
    "slider_color": "*primary_500",
    "slider_color_dark": "*primary_400",
    "color_accent": "*primary_500",
    "loader_color": "*primary_500",
    "loader_color_dark": "*primary_400",
}


def script() -> str:
    """Return the scripts of the page's own components."""
    return "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS if path.exists())


def theme() -> gr.themes.Base:
    """Return the theme: flat blocks without frames; only what can be touched has an edge."""
    plain = gr.themes.Base(
        primary_hue=ACCENT,
        secondary_hue=ACCENT,
        neutral_hue=gr.themes.colors.neutral,
        text_size=ONE_SIZE,
        font=SYSTEM_FONTS,
        font_mono=SYSTEM_MONO,
    )
    return plain.set(**VALUES)
