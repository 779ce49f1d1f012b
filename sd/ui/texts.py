"""All texts of the page: key -> (English, Simplified Chinese), with the same placeholders in both.

Static texts travel to the browser under `sd_` keys and are chosen there by its language; lines that
carry numbers are made here and chosen by the request's Accept-Language header.
"""

from typing import Any

from sd.ui import (
    texts_algorithm2,
    texts_coach,
    texts_denoise,
    texts_looked,
    texts_noise,
    texts_noise_folds,
    texts_plan,
    texts_player,
    texts_prompts,
    texts_sampling,
    texts_steer,
    texts_watch,
)

LANGUAGES = ("en", "zh")
PREFIX = "sd_"  # gradio's own keys ("label", "file", ...) share one table with ours in the browser

PAGE = {
    "page_title": (
        "sd: train, watch and look inside a diffusion model",
        "sd：训练、观察、看懂扩散模型",
    ),
    "tag_line": (
        "train, watch and look inside a diffusion model",
        "训练、观察、看懂一个扩散模型",
    ),
    "machine_title": (
        "The machine on which training and sampling run",
        "训练与采样所用的机器",
    ),
    "tab_train": ("Train", "训练"),
    "tab_noise": ("Noise", "加噪"),
    "tab_denoise": ("Denoise", "去噪"),
    "command": ("The same from a terminal", "在终端中做同样的事"),
    "command_info": (
        "Run it in the project's folder: it does what this tab does.",
        "在项目文件夹中运行，效果与本页相同。",
    ),
    "seed": ("Seed", "随机种子"),
    "dice": ("New seed", "换一个种子"),
    "more": ("More settings", "更多设置"),
    "stop": ("Stop", "停止"),
    "seconds": ("{s} s", "{s} 秒"),
    "minutes": ("{m} min {s} s", "{m} 分 {s} 秒"),
    "hours": ("{h} h {m} min", "{h} 小时 {m} 分"),
    "mistake": ("Not possible", "无法执行"),
    "busy_page": (
        "{n} of these are at work or waiting for this page already: stop one, or wait for its end",
        "本页已有 {n} 项同类任务在进行或等待：请先停止一项，或等它结束",
    ),
    "busy_light": (
        "{n} requests of this page are waiting already: wait a moment",
        "本页已有 {n} 个请求在等待：请稍候",
    ),
    "busy_all": (
        "{n} of these are at work or waiting already, of everyone together: try again in a minute",
        "所有访问者的同类任务已有 {n} 项在进行或等待：请一分钟后再试",
    ),
    "busy_bytes": (
        "what waits already is all that the page can hold: try again in a minute, or send less",
        "等待中的内容已达本页可容纳的上限：请一分钟后再试，或少发送一些",
    ),
    "unexpected": (
        "Something unexpected went wrong; the details are in the server's log.",
        "出现意外错误，详情见服务器日志。",
    ),
}

MODULES = (
    texts_plan,
    texts_player,
    texts_sampling,
    texts_watch,
    texts_steer,
    texts_coach,
    texts_noise,
    texts_noise_folds,
    texts_denoise,
    texts_prompts,
    texts_algorithm2,
    texts_looked,
)
TABLES = (PAGE, *(module.TEXTS for module in MODULES))
TEXTS: dict[str, tuple[str, str]] = {key: pair for table in TABLES for key, pair in table.items()}


def say(key: str, language: str, **values: Any) -> str:
    """Return the text `key` in `language` ("en" or "zh") with its placeholders filled."""
    text = TEXTS[key][LANGUAGES.index(language)]
    return text.format(**values) if values else text


def translations() -> dict[str, dict[str, str]]:
    """Return locale -> prefixed key -> text, as the browser's own choice of language needs it.

    `zh-CN` serves every Chinese browser (zh-TW and zh-HK fall back to `zh`); others read English.
    """
    tables = {
        language: {PREFIX + key: pair[place] for key, pair in TEXTS.items()}
        for place, language in enumerate(LANGUAGES)
    }
    return {**tables, "zh-CN": tables["zh"]}


def language_of(header: str | None) -> str:
    """Return "zh" if an Accept-Language header asks first for Chinese, else "en".

    A bare "zh" is English too: the browser's side knows only tags with a region.
    """
    first = (header or "").split(",")[0].strip().lower()
    return "zh" if first.startswith("zh-") else "en"


def duration(seconds: float, language: str) -> str:
    """Return a length of time in words: 8 s, 3 min 10 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return say("seconds", language, s=whole)
    if whole < 3600:
        return say("minutes", language, m=whole // 60, s=whole % 60)
    return say("hours", language, h=whole // 3600, m=whole % 3600 // 60)
