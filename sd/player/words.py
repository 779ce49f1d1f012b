"""The player's words: key -> (English, Simplified Chinese); in the page and in a file alike."""

LANGUAGES = ("en", "zh")

TEXTS: dict[str, tuple[str, str]] = {
    "title": ("From noise to picture, step by step", "从噪声到图片，一步一步"),
    "made": ("How these pictures were made", "这些图片是怎样生成的"),
    "player": ("Player of the steps", "步骤播放器"),
    "view": ("What is shown", "显示内容"),
    "view_both": ("both", "两者"),
    "view_x_t": ("x_t", "x_t"),
    "view_x0": ("x0", "x0"),
    "view_eps": ("eps", "eps"),
    "view_change": ("change", "变化"),
    "caption_x_t": ("x_t: the picture on its way", "x_t：途中的图片"),
    "caption_x0": ("x0: what the model expects at the end", "x0：模型预计的结果"),
    "caption_eps": (
        "eps: the noise the model sees, shown as eps / 3",
        "eps：模型看到的噪声，按 eps / 3 显示",
    ),
    "caption_change": (
        "change: where this step moved x_t, white for 3 times its norm",
        "变化：这一步改动了 x_t 的哪些地方，白色为范数的 3 倍",
    ),
    "alt_x_t": ("step {i} of {n}, x_t at t = {t}", "第 {i} 步，共 {n} 步，t = {t} 的 x_t"),
    "alt_x0": ("step {i} of {n}, x0 estimate", "第 {i} 步，共 {n} 步，对 x0 的估计"),
    "alt_eps": ("step {i} of {n}, eps estimate", "第 {i} 步，共 {n} 步，对噪声 eps 的估计"),
    "alt_change": ("step {i} of {n}, change of x_t", "第 {i} 步，共 {n} 步，x_t 的变化"),
    "where": ("step {i} of {n}, t = {t}", "第 {i} 步，共 {n} 步，t = {t}"),
    "waiting": ("waiting for the first step", "正在等待第一步"),
    "step": ("Step", "步"),
    "play": ("Play", "播放"),
    "pause": ("Pause", "暂停"),
    "back": ("One step back", "后退一步"),
    "forward": ("One step forward", "前进一步"),
    "loop": ("Loop", "循环"),
    "speed": ("Speed", "速度"),
    "steps": ("Steps on the way", "途中各步"),
    "go": ("Go to step {i}", "转到第 {i} 步"),
    "norm_x_t": ("x_t norm", "x_t 范数"),
    "norm_x_t_info": (
        "Root mean square of x_t's values: pure noise has 1.",
        "x_t 各值的均方根：纯噪声为 1。",
    ),
    "norm_x0": ("x0 norm", "x0 范数"),
    "norm_x0_info": (
        "Root mean square of the expected picture's values, which lie between -1 and 1.",
        "预计图片各值的均方根，取值在 -1 到 1 之间。",
    ),
    "norm_eps": ("eps norm", "eps 范数"),
    "norm_eps_info": (
        "Root mean square of the noise that the model sees in x_t: about 1 if it sees well.",
        "模型在 x_t 中看到的噪声的均方根：看得准时约为 1。",
    ),
    "change": ("change", "变化"),
    "change_info": (
        "Root mean square of what the last step changed in x_t.",
        "上一步对 x_t 改动的均方根。",
    ),
    "log_snr": ("log SNR", "对数信噪比"),
    "log_snr_info": (
        "Natural logarithm of the picture's power over the noise's at this t; 0 is half and half.",
        "此 t 处图片与噪声功率之比的自然对数；0 表示各占一半。",
    ),
    "clipped": ("x0 clipped", "x0 截断"),
    "clipped_info": (
        "Share of x0's values that were cut to the range that pictures have.",
        "x0 中被截到图片取值范围内的值所占的比例。",
    ),
    "late": ("A part of the film is late; asking again.", "影片的一部分未到，正在重新请求。"),
    "lost": ("A part of the film did not arrive.", "影片的一部分没有收到。"),
    "again": ("Ask again", "重新请求"),
}


def words(language: str = "en") -> dict[str, str]:
    """Return every text of the player in "en" or "zh"."""
    place = LANGUAGES.index(language)
    return {key: pair[place] for key, pair in TEXTS.items()}
