"""The Denoise tab's texts: key -> (English, Simplified Chinese)."""

TEXTS: dict[str, tuple[str, str]] = {
    "model": ("Model", "模型"),
    "model_info": (
        "A trained one, even a run that still trains; or a picture set itself, exactly (ideal) or "
        "as a blur (linear).",
        "训练好的模型，包括仍在训练的运行；或图片集本身：精确解（ideal）或线性模糊解（linear）。",
    ),
    "sampler": ("Sampler", "采样器"),
    "sampler_info": (
        "The rule that goes from one step to the next.",
        "从一步走到下一步的规则。",
    ),
    "about_ddim": (
        "Few steps, the same picture from the same noise; with eta 0 it is Euler's rule.",
        "步数少，相同噪声得到相同图片；eta 为 0 时就是 Euler 规则。",
    ),
    "about_ddpm": (
        "Algorithm 2 as it was published: takes noise away and adds fresh noise at each step.",
        "论文中的算法 2：每步去掉噪声，再加入新噪声。",
    ),
    "about_euler": (
        "A straight line along the slope of the path; the same as DDIM with eta 0.",
        "沿路径的斜率走直线；与 eta 为 0 的 DDIM 相同。",
    ),
    "about_euler_ancestral": (
        "Euler's line, a little too far, then fresh noise; the same as DDIM with eta 1.",
        "Euler 直线多走一点，再加新噪声；与 eta 为 1 的 DDIM 相同。",
    ),
    "about_heun": (
        "Tries Euler's line, looks at the slope at its end and takes the mean of both: second "
        "order, two calls a step.",
        "先走 Euler 直线，再取两端斜率的平均：二阶，每步调用两次。",
    ),
    "about_dpmpp_2m": (
        "DPM-Solver++(2M): bends the line by what the step before saw: second order, one call.",
        "DPM-Solver++(2M)：用前一步所见修正路线：二阶，每步调用一次。",
    ),
    "about_unipc": (
        "UniPC: predicts with the step before, and corrects with what the network says there; "
        "good with very few steps.",
        "UniPC：用前一步预测，再用网络在该处的回答校正；步数极少时也好用。",
    ),
    "sampler_calls": ("{calls} network calls in all.", "共调用网络 {calls} 次。"),
    "sample_steps": ("Steps", "步数"),
    "sample_steps_info": (
        "How many steps lead from noise to picture.",
        "从噪声到图片走多少步。",
    ),
    "count": ("Pictures", "张数"),
    "count_info": (
        "Made side by side; picture k starts from seed + k.",
        "同时生成；第 k 张从“种子 + k”出发。",
    ),
    "sample_seed_info": (
        "The same seed starts from the same noise; -1 draws one.",
        "种子相同，起始噪声就相同；-1 为随机。",
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
        "Which times are visited: trailing begins at T, as training ends there; karras goes in "
        "small steps near the picture.",
        "访问哪些时间：trailing 从 T 开始，与训练的终点一致；karras 在接近图片处步子更小。",
    ),
    "clip": ("Clip x0", "截断 x0"),
    "clip_info": (
        "Cut each estimate of the picture to the range that pictures have.",
        "把每次对图片的估计截到图片的取值范围内。",
    ),
    "begin": ("Where to begin", "从哪里开始"),
    "begin_info": (
        "From pure noise, from noises on the way between two seeds, or from a picture.",
        "从纯噪声、从两个种子之间的噪声，或从一张图片开始。",
    ),
    "begin_noise": ("noise", "噪声"),
    "begin_seeds": ("two seeds", "两个种子"),
    "begin_picture": ("a picture", "一张图片"),
    "begin_starters": ("or one of these", "或选一张自带图片"),
    "seed_to": ("Second seed", "第二个种子"),
    "seed_to_info": (
        "The pictures start on the great circle from the first seed's noise to this one's.",
        "各图片的起点位于从第一个种子的噪声到此种子的噪声的大圆上。",
    ),
    "share": ("How far into the noise, % of T", "加噪到 T 的百分之几"),
    "share_info": (
        "The picture is noised to there and denoised from there: little keeps it, much makes "
        "it anew.",
        "图片先加噪到此处，再从此处去噪：小则保留原图，大则重新生成。",
    ),
    "mask": ("Only inside a mask", "仅在蒙版内"),
    "mask_info": (
        "Paint what is to be made anew; the rest stays as it is. Paint nothing to change all.",
        "涂出要重新生成的部分，其余保持不变；不涂则全部改变。",
    ),
    "denoise": ("Denoise", "开始去噪"),
    "loading": ("loading the model", "正在载入模型"),
    "replaying": (
        "making the steps before the branch again: {i} of {n}",
        "正在重走分支之前的步骤：第 {i} 步，共 {n} 步",
    ),
    "progress": ("step {i} of {n}, t = {t}", "第 {i} 步，共 {n} 步，t = {t}"),
    "progress_left": ("{s} left", "剩余 {s}"),
    "progress_clipped": ("x0 clipped {n} %", "x0 截断 {n} %"),
    "done": ("{n} steps in {s} s on {device}", "{device} 上 {n} 步，用时 {s} 秒"),
    "stopped": ("stopped at step {i} of {n}", "已在第 {i} 步停止，共 {n} 步"),
    "finished": ("all {n} steps", "全部 {n} 步"),
    "example": (
        "a finished example of the bundled model",
        "自带模型的一个完整示例",
    ),
    "beside": ("Beside it", "并排比较"),
    "beside_info": (
        "Another sampling of this page, on the same slider.",
        "本页的另一次采样，共用同一个滑块。",
    ),
    "beside_none": ("nothing", "无"),
    "node_seed": ("seed {seed}", "种子 {seed}"),
    "node_seed_to": ("to seed {seed}", "到种子 {seed}"),
    "node_branch": ("from step {at}", "从第 {at} 步起"),
    "node_paint": ("painted", "已涂改"),
    "node_picture": ("from a picture at t = {t}", "从 t = {t} 的图片起"),
}
