"""Texts of what can be done with a sampling: branch, race, take away.

Key -> (English, Simplified Chinese).
"""

TEXTS: dict[str, tuple[str, str]] = {
    "branch": ("Branch from here", "从这里分支"),
    "branch_about": (
        "Move the slider to a step, change what you like, and see another future of the same "
        "picture.",
        "把滑块移到某一步，改动任意设置，看同一张图片的另一种未来。",
    ),
    "branch_from": (
        "Goes on from step {i} of {n}, where t = {t}. Paint on the estimate of x0 if you like: "
        "its noise stays.",
        "从第 {i} 步（共 {n} 步，t = {t}）继续。可在 x0 的估计上涂改：噪声保持不变。",
    ),
    "branch_sampler": ("Sampler from there", "之后的采样器"),
    "branch_sampler_info": ("The rule for the steps that are left.", "剩余各步的规则。"),
    "branch_steps": ("Steps left", "剩余步数"),
    "branch_steps_info": (
        "How many steps lead from there to the picture.",
        "从那里到图片走多少步。",
    ),
    "branch_seed": ("Seed from there", "之后的种子"),
    "branch_seed_info": (
        "Chooses the fresh noise of samplers that add some.",
        "决定会加噪的采样器所加的新噪声。",
    ),
    "branch_go": ("Go on from here", "从这里继续"),
    "race": ("Sampler race", "采样器竞赛"),
    "race_about": (
        "The same start and the same number of network calls for every lane. How far a lane ends "
        "from the exact solution is measured against a reference of at least 1,000 steps.",
        "各道起点相同、网络调用次数相同。终点与精确解的距离以至少 1000 步的参考解衡量。",
    ),
    "race_samplers": ("Lanes", "参赛者"),
    "race_samplers_info": ("One to four samplers.", "一到四个采样器。"),
    "race_calls": ("Network calls", "网络调用次数"),
    "race_calls_info": (
        "What every lane may spend; Heun needs two calls a step.",
        "每道可用的次数；Heun 每步用两次。",
    ),
    "race_go": ("Race the samplers", "采样器竞赛"),
    "race_denoisers": ("Memory, blur, and what was learned", "记忆、模糊与所学"),
    "race_reference": ("reference: step {i} of {n}", "参考解：第 {i} 步，共 {n} 步"),
    "race_done": ("measured against {n} steps", "以 {n} 步的参考解衡量"),
    "lane": ("{sampler}: {steps} steps, {calls} calls", "{sampler}：{steps} 步，{calls} 次调用"),
    "lane_distance": ("{far} (rms) from the reference", "与参考解相距 {far}（均方根）"),
    "lane_random": (
        "adds noise: there is no single end to compare with",
        "会加入噪声：没有唯一的终点可比",
    ),
    "algorithm2": ("Algorithm 2, with these numbers", "算法 2，代入这些数字"),
    "algorithm2_about": (
        "The step at which the slider rests, at one pixel in the middle of the first picture.",
        "滑块所在的那一步，取第一张图片中间的一个像素。",
    ),
    "take": ("Take away", "带走"),
    "take_about": (
        "A PNG carries all that made it: bring it back and every setting returns.",
        "PNG 带有生成它的全部信息：拿回来即可恢复所有设置。",
    ),
    "take_form": ("As", "格式"),
    "take_form_info": (
        "A picture, a moving picture, every step as numbers, or a page that plays offline.",
        "一张图片、动图或视频、每一步的数值，或可离线播放的网页。",
    ),
    "take_png": ("picture (png)", "图片（png）"),
    "take_gif": ("animation (gif)", "动图（gif）"),
    "take_mp4": ("film (mp4)", "视频（mp4）"),
    "take_npz": ("steps (npz)", "各步数值（npz）"),
    "take_html": ("player (html)", "播放器（html）"),
    "take_index": ("Picture", "第几张"),
    "take_index_info": ("Which of the pictures a PNG takes.", "PNG 取哪一张。"),
    "take_go": ("Download", "下载"),
    "bring": ("Bring a PNG back", "拿回 PNG"),
    "bring_again": ("Make it again", "再次生成"),
    "brought": (
        "Set as in {name}. Made on {machine}; press Make it again for the same picture.",
        "已按 {name} 设置。生成于 {machine}；按“再次生成”得到同一张图片。",
    ),
}
