"""The Denoise tab's texts: key -> (English, Simplified Chinese)."""

TEXTS: dict[str, tuple[str, str]] = {
    "model": ("Model", "模型"),
    "model_info": (
        "A trained model: the bundled one, or any of your runs that has saved.",
        "训练好的模型：自带的，或你的任何一次已保存的运行。",
    ),
    "sampler": ("Sampler", "采样器"),
    "sampler_info": (
        "ddim takes few, determined steps; ddpm adds fresh noise at each.",
        "ddim 步数少、过程确定；ddpm 每步加入新噪声。",
    ),
    "sample_steps": ("Steps", "步数"),
    "sample_steps_info": (
        "How often the network is asked on the way from noise to picture.",
        "从噪声到图片，网络被询问的次数。",
    ),
    "count": ("Pictures", "张数"),
    "count_info": (
        "Made side by side; picture k starts from seed + k.",
        "同时生成；第 k 张从“种子 + k”出发。",
    ),
    "sample_seed_info": (
        "The same seed starts from the same noise.",
        "种子相同，起始噪声就相同。",
    ),
    "eta": ("eta", "eta"),
    "eta_info": (
        "Fresh noise per ddim step: 0 none, 1 as much as ddpm.",
        "ddim 每步的新噪声：0 没有，1 与 ddpm 相同。",
    ),
    "variance": ("Variance", "方差"),
    "variance_info": (
        "How much noise ddpm adds: the least or the most that theory allows.",
        "ddpm 加入多少噪声：理论允许的最小值或最大值。",
    ),
    "variance_fixed_small": ("fixed small", "固定小方差"),
    "variance_fixed_large": ("fixed large", "固定大方差"),
    "spacing": ("Spacing", "时间间隔"),
    "spacing_info": (
        "Which times are visited: trailing begins at T, as training ends there.",
        "访问哪些时间：trailing 从 T 开始，与训练的终点一致。",
    ),
    "clip": ("Clip x0", "截断 x0"),
    "clip_info": (
        "Cut each estimate of the picture to the range that pictures have.",
        "把每次对图片的估计截到图片的取值范围内。",
    ),
    "denoise": ("Denoise", "开始去噪"),
    "now_caption": ("x_t: the picture on its way", "x_t：途中的图片"),
    "guess_caption": ("x0: what the model expects at the end", "x0：模型预计的结果"),
    "now_alt": ("Step {i} of {n}, x_t at t = {t}", "第 {i} 步，共 {n} 步，t = {t} 的 x_t"),
    "guess_alt": ("Step {i} of {n}, x0 estimate", "第 {i} 步，共 {n} 步，对 x0 的估计"),
    "loading": ("loading the model", "正在载入模型"),
    "progress": ("step {i} of {n}, t = {t}", "第 {i} 步，共 {n} 步，t = {t}"),
    "progress_left": ("{s} s left", "剩余 {s} 秒"),
    "progress_clipped": ("x0 clipped {n} %", "x0 截断 {n} %"),
    "done": ("{n} steps in {s} s on {device}", "{device} 上 {n} 步，用时 {s} 秒"),
    "stopped": ("stopped at step {i} of {n}", "已在第 {i} 步停止，共 {n} 步"),
    "example": (
        "a finished example of the bundled model",
        "自带模型的一个完整示例",
    ),
    "step": ("Step", "步"),
    "step_info": (
        "Move through the steps that were kept; arrow keys work too.",
        "在保留的各步之间移动；也可用方向键。",
    ),
    "steps_gallery": ("Steps on the way", "途中各步"),
    "thumbnail": ("step {i}, t = {t}", "第 {i} 步，t = {t}"),
}
