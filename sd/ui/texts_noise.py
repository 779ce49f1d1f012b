"""The Noise tab's texts: key -> (English, Simplified Chinese)."""

TEXTS: dict[str, tuple[str, str]] = {
    "noise_picture": ("Your picture", "你的图片"),
    "noise_picture_info": (
        "Drop any picture here; it is cropped to a square of at most 256 pixels.",
        "把任意图片拖到这里；会裁成边长不超过 256 像素的正方形。",
    ),
    "noise_set": ("Pictures", "图片集"),
    "noise_set_info": (
        "The bundled pictures, or those that one of your runs was trained on.",
        "自带图片，或你的某次训练所用的图片。",
    ),
    "noise_starters": ("or one of these", "或选下面一张"),
    "noise_schedule": ("Schedule", "噪声表"),
    "noise_schedule_info": (
        "How the noise grows with t, and the number of steps T; presets in brackets.",
        "噪声随 t 增长的方式和总步数 T；括号内是预设。",
    ),
    "noise_seed_info": (
        "Chooses the noise eps; it stays the same while you move t. -1 draws one.",
        "决定噪声 eps；拖动 t 时它保持不变。-1 为随机。",
    ),
    "noise_t": (
        "Time t: 0 is the picture, the right end is noise",
        "时间 t：0 是原图，最右端是噪声",
    ),
    "noise_play": ("Play", "播放"),
    "noise_pause": ("Pause", "暂停"),
    "noise_back": ("One step back", "后退一步"),
    "noise_on": ("One step on", "前进一步"),
    "noise_save": ("Save PNG", "保存 PNG"),
    "noise_alt": (
        "t = {t} of {T}: {signal} % signal",
        "t = {t}（共 {T}）：信号占 {signal} %",
    ),
    "noise_signal": ("signal {n} %", "信号 {n} %"),
    "noise_noise": ("noise {n} %", "噪声 {n} %"),
    "noise_formula_about": (
        "Drag t, or use the arrow keys; space plays. x_0 is the picture, eps the noise, x_t what "
        "you see: their squared factors add up to 1.",
        "拖动 t，或用方向键；空格播放。x_0 是图片，eps 是噪声，x_t 是你看到的："
        "两个系数的平方和为 1。",
    ),
    "noise_exact": (
        "Exactly, at t = {t}: x_t = {a} x_0 + {b} {eps}, SNR {snr}, {kl} nats per value from the "
        "prior; its values have mean {mean} and standard deviation {std}; detail of up to {n} of "
        "{most} cycles per side stands above the noise.",
        "t = {t} 时的精确值：x_t = {a} x_0 + {b} {eps}，信噪比 {snr}，每个像素值距先验 {kl} 奈特；"
        "x_t 各值的均值 {mean}，标准差 {std}；每边 {most} 周中，不超过 {n} 周的细节高于噪声。",
    ),
    "noise_nats": ("{n} nats from N(0, 1)", "距 N(0, 1) {n} 奈特"),
    "noise_finest": ("up to {n} of {most}", "可见到 {n} / {most}"),
    "noise_none": ("all below the noise", "全部低于噪声"),
    "noise_cycles": ("{n} cycles", "{n} 周"),
    "noise_twin": (
        "t = {t} of {T}: {signal} % signal, SNR {snr}",
        "t = {t}（共 {T}）：信号 {signal} %，信噪比 {snr}",
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
    "curve_histogram": ("values of x_t", "x_t 的取值分布"),
    "curve_histogram_about": (
        "How the pixels' values are spread (bars) beside the standard normal distribution (line). "
        "The number is the distance to it, the KL divergence per value, given this picture.",
        "像素值的分布（柱）与标准正态分布（线）。数字是给定这张图片时两者的距离："
        "每个值的 KL 散度。",
    ),
    "curve_spectrum": ("detail above the noise", "高于噪声的细节"),
    "curve_spectrum_about": (
        "The picture's power at t for each spatial frequency, in cycles per side (line), and the "
        "noise, which is the same at all (dotted). What lies below the noise cannot be seen.",
        "t 时图片在各空间频率（每边周期数）上的功率（线）；噪声处处相同（虚线）。"
        "低于噪声的细节看不见。",
    ),
    "curve_alt": (
        "{name} from t = 0 to {T}; at t = {t}: {value}",
        "{name}，t 从 0 到 {T}；t = {t} 处：{value}",
    ),
    "terminal_good": (
        "Ends at SNR {snr}: almost nothing of the picture is left, as sampling assumes.",
        "终点信噪比 {snr}：图片几乎不剩，正合采样的前提。",
    ),
    "terminal_zero": (
        "Ends at SNR 0: noise and nothing else, exactly what sampling starts from. There eps says "
        "nothing of the picture, so a network has to estimate v or x0.",
        "终点信噪比 0：只剩噪声，正是采样的起点。此处 eps 不含图片信息，所以网络须预测 v 或 x0。",
    ),
    "terminal_bad": (
        "Ends at SNR {snr}, above {limit}: {n} % of the picture's strength is still there at T. "
        "Training never sees pure noise, yet sampling starts from it, so samples come out grey or "
        "wrongly lit.",
        "终点信噪比 {snr}，高于 {limit}：到 T 时图片强度仍剩 {n} %。"
        "训练从未见过纯噪声，采样却从纯噪声开始，所以样本会发灰或明暗失真。",
    ),
    "mend": ("Mend it: {name}", "修正：{name}"),
}
