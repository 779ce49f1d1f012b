"""The page in Chinese: no English is left on what it shows before anybody has done anything."""

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from app import build_app
from sd.common.device import Machine
from sd.config import KEYS
from sd.ui import head, models, texts
from sd.ui.noise import schedules, stage

CHINESE: Any = SimpleNamespace(headers={"accept-language": "zh-CN,zh;q=0.9,en;q=0.8"})
SHOWN = ("label", "info", "placeholder")
NAMES = {  # of formulas, samplers, settings' values, formats, units, devices, presets, products
    *(key for keys in KEYS.values() for key in keys),
    *[
        "LoRA",
        "x_t",
        "x0",
        "x",
        "x_0",
        "t",
        "T",
        "s",
        "eps",
        "eta",
        "v",
        "SNR",
        "ddpm",
        "CFG",
        "DPM-Solver",
        "a",
        "DDPM",
        "DDIM",
        "Euler",
        "Heun",
        "UniPC",
        "LCM",
        "BK-SDM",
        "ddim",
        "euler",
        "euler_ancestral",
        "heun",
        "dpmpp_2m",
        "unipc",
        "lcm",
    ],
    *[
        "linear",
        "scaled_linear",
        "cosine",
        "sigmoid",
        "karras",
        "leading",
        "trailing",
        "linspace",
        "adamw",
        "muon",
    ],
    *["fixed_small", "fixed_large", "float16", "float32", "bfloat16", "cpu", "cuda", "mps", "auto"],
    *[
        "M",  # millions of parameters
        "MiB",
        "GiB",
        "tiny",
        "small",
        "gpu",
        "seed",
        "seed-fixed",
        "latent128",
        "latent256",
        "latent-own",
        "taesd",
        "taef2",
        "own",
        "emoji32",
        "shapes32",
        "shapes128",
        "DDPM",
        "EN",
        "Stable",
        "Diffusion",
        "sd",
        "CPU",
        "GPU",
        "hub",
        "ini",
    ],
    *["zip", "PNG", "GIF", "MP4", "WebP", "png", "gif", "mp4", "webp", "npz", "html"],
    *["crop", "pad", "stretch", "ideal", "beta", "k", "EMA", "Ho", "Heun", "U-Net", "Transformer"],
}
WORD = re.compile(r"\b(?<![\d_])[A-Za-z][\w'-]*")
OWN = re.compile(r"sd(?:Doors|Minutes|Settings|Prompt)\.mount\([^{]*(?:\{[^{]*\}, )?(\{.*\})\);")
MARK = re.compile(r'__i18n__\{[^}]*"key": "([\w-]+)"\}')


def in_chinese(value: Any) -> str:
    """Return what the browser makes of a text of a component."""
    said = texts.translations(texts.TEXTS["en"])["zh-CN"]
    plain = MARK.sub(lambda mark: said[mark[1]], str(value or ""))
    return re.sub(r"<[^>]*>|&\w+;|\b[\w.-]+\.\w+\b", " ", plain)


def laid_out(place: dict[str, Any]) -> Iterator[int]:
    """Yield the numbers of the components that the page lays out."""
    yield place["id"]
    for child in place.get("children") or []:
        yield from laid_out(child)


def shown_texts() -> Iterator[str]:
    """Yield each text that a component of the page shows at first."""
    page = json.loads(json.dumps(build_app().get_config_file(), default=str))
    components = {each["id"]: each for each in page["components"]}
    top, tabs, *_ = page["layout"]["children"]  # what follows are the named endpoints
    for number in [*laid_out(top), *laid_out(tabs)]:
        if number not in components:
            continue
        kind, props = components[number]["type"], components[number]["props"]
        if props.get("visible") == "hidden":  # the browser presses it, nobody sees it
            continue
        for key in SHOWN:
            yield in_chinese(props.get(key))
        if found := OWN.search(props.get("js_on_load") or ""):
            yield from carried(json.loads(found[1]))
        if "sdFields.mount" in (props.get("js_on_load") or ""):
            yield from form_texts(props["js_on_load"])
        elif isinstance(props.get("value"), dict):  # of a component of our own
            continue
        elif kind in ("html", "button", "markdown", "downloadbutton", "uploadbutton"):
            yield in_chinese(props.get("value"))
        for choice in props.get("choices") or []:
            yield in_chinese(choice[0] if isinstance(choice, list) else choice)


def form_texts(script: str) -> Iterator[str]:
    """Yield each text that a form of the page shows in Chinese, its sentences among them."""
    for field in json.loads(script.partition("}, ")[2].removesuffix(");"))["fields"]:
        for told in (field["label"], field["info"], *(words for words, _ in field["choices"])):
            yield in_chinese(told and told["zh"])


def carried(value: Any) -> Iterator[str]:
    """Yield the Chinese of each text that a component of our own carries in every language."""
    children = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict) and {"en", "zh"} <= value.keys():
        yield re.sub(r"\[\w+\||\{\w+\}", " ", in_chinese(value["zh"]))
    elif isinstance(value, dict | list):
        for child in children:
            yield from carried(child)


def english(text: str) -> list[str]:
    """Return the words of Latin letters in a text that are no names."""
    return [word for word in WORD.findall(text) if word not in NAMES]


def test_no_english_is_left_on_the_chinese_page() -> None:
    told = {word: text for text in shown_texts() if text for word in english(text)}
    assert not told


@pytest.mark.parametrize("threads", [1, 2])
def test_the_machine_is_told_in_chinese(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine("cpu", threads, "mkl", f"CPU, {threads} threads")
    monkeypatch.setattr(models, "machine", lambda: machine)
    shown = head.show_machine("", CHINESE)["model"]["content"]["machine"]
    assert f"CPU，{threads} 个线程" in shown and not english(in_chinese(shown))


def test_schedules_and_their_fixes_are_called_in_chinese() -> None:
    for name in schedules.list_schedules():
        assert not english(schedules.title_of(name, "zh"))
        assert not english(in_chinese(schedules.check_html(name, "zh")))


def test_the_words_of_the_noise_tab_are_chinese() -> None:
    for key in stage.WORDS:
        words = re.sub(r"N\(0, 1\)|\{\w+\}", "", texts.say(f"noise_{key}", "zh"))
        assert not english(words), key
