"""The Noise tab's texts: key -> (English, Simplified Chinese)."""

TEXTS: dict[str, tuple[str, str]] = {
    "noise_picture": ("Your picture", "你的图片"),
    "noise_picture_info": (
        "Drop any picture here; it is cropped to a square of at most 256 pixels.",
        "把任意图片拖到这里；会裁成边长不超过 256 像素的正方形。",
    ),
    "noise_starters": ("or one of these", "或选一张自带图片"),
    "noise_schedule": ("Schedule", "噪声表"),
    "noise_schedule_info": (
        "How the noise grows with t, and the number of steps T; each belongs to a preset.",
        "噪声随 t 增长的方式和总步数 T；每种属于一个预设。",
    ),
    "noise_seed_info": (
        "Chooses the noise eps; it stays the same while you move t.",
        "决定噪声 eps；拖动 t 时它保持不变。",
    ),
    "noise_t": ("Time t", "时间 t"),
    "noise_t_info": (
        "0 is your picture, the right end is noise; drag it, or use the arrow keys.",
        "0 是原图，最右端是噪声；可拖动，也可用方向键。",
    ),
    "noise_alt": (
        "The picture with noise at t = {t} of {T}: {signal} % signal",
        "t = {t}（共 {T}）时的加噪图片：信号占 {signal} %",
    ),
    "noise_signal": ("signal {n} %", "信号 {n} %"),
    "noise_noise": ("noise {n} %", "噪声 {n} %"),
    "noise_formula_about": (
        "x_0 is the picture, eps the noise, x_t what you see: their squared factors add up to 1.",
        "x_0 是图片，eps 是噪声，x_t 是你看到的：两个系数的平方和为 1。",
    ),
    "curve_alpha_bar": ("signal share alpha_bar", "信号占比 alpha_bar"),
    "curve_alpha_bar_about": (
        "The share of the picture in x_t's variance: 1 is all picture, 0 all noise.",
        "x_t 方差中图片所占的份额：1 全是图片，0 全是噪声。",
    ),
    "curve_log_snr": ("log SNR", "对数信噪比"),
    "curve_log_snr_about": (
        "The natural logarithm of signal power over noise power; 0 is half and half.",
        "信号功率与噪声功率之比的自然对数；0 表示各占一半。",
    ),
    "curve_alt": (
        "{name} from t = 0 to {T}; at t = {t} it is {value}",
        "{name}，t 从 0 到 {T}；t = {t} 处为 {value}",
    ),
    "terminal_good": (
        "Ends at SNR {snr}: almost nothing of the picture is left, as sampling assumes.",
        "终点信噪比 {snr}：图片几乎不剩，正合采样的前提。",
    ),
    "terminal_bad": (
        "Ends at SNR {snr}, above {limit}: part of the picture is still there at T. Training never "
        "sees pure noise, yet sampling starts from it, so samples come out grey or wrongly lit. "
        "seed-fixed corrects this.",
        "终点信噪比 {snr}，高于 {limit}：到 T 时图片仍有残留。训练从未见过纯噪声，"
        "采样却从纯噪声开始，所以样本会发灰或明暗失真。seed-fixed 修正了这一点。",
    ),
}
