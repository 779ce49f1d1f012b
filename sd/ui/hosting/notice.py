"""What a page that strangers share tells at its foot: whose things are whose, and how long."""

from typing import Any

import gradio as gr

from sd.ui.hosting.modes import Mode
from sd.ui.hosting.space import is_space
from sd.ui.texts import PREFIX, TEXTS, say

SCRIPT = """const note = element.querySelector("p");
const { about, leave, really } = props.value;
const button = sdMake("button", { type: "button" }, sdSay(leave));
button.onclick = async () => {
  if (button.dataset.asked) {
    button.disabled = true;
    if (await window.sdLeave()) location.reload();
    button.disabled = false;
  }
  button.dataset.asked = "yes";
  button.textContent = sdSay(really);
};
note.replaceChildren(sdSay(about), " ", button);"""


def build(mode: Mode) -> None:
    """Lay out the line, with a button that deletes everything of the visitor who presses it.

    On a Space another one makes a Space of one's own, where nothing is bounded.
    """
    told = {
        key: {lang: say(f"visit_{key}", lang, n=mode.kept_days) for lang in TEXTS}
        for key in ("about", "leave", "really")
    }
    gr.HTML(
        told,
        html_template="<p></p>",
        js_on_load=SCRIPT,
        apply_default_css=False,
        elem_classes="visit",
    )
    if is_space():
        words: Any = gr.I18n()(f"{PREFIX}visit_duplicate")
        with gr.Row(elem_classes="visit"):
            gr.DuplicateButton(words, size="sm")
