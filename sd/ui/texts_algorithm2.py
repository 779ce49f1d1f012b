"""The texts of the painter and of Algorithm 2: key -> (English, Simplified Chinese)."""

TEXTS: dict[str, tuple[str, str]] = {
    "painter_tool": ("Tool", "工具"),
    "painter_size": ("Brush size", "笔刷大小"),
    "painter_unit": ("pixels wide", "像素宽"),
    "painter_pixels": ("{n} pixels wide", "{n} 像素宽"),
    "painter_undo": ("Undo", "撤销"),
    "painter_clear": ("Clear", "清空"),
    "painter_invert": ("Invert", "反选"),
    "painter_keys": (
        "With keys: arrows move, space paints, Shift and arrows draw, Ctrl+Z takes back.",
        "键盘操作：方向键移动，空格落笔，Shift 加方向键连续画，Ctrl+Z 撤销。",
    ),
    "painter_place": ("row {row}, column {column}", "第 {row} 行，第 {column} 列"),
    "painter_colour": ("Colour", "颜色"),
    "painter_own": ("A colour of your own", "自选颜色"),
    "painter_black": ("black", "黑"),
    "painter_grey": ("grey", "灰"),
    "painter_white": ("white", "白"),
    "painter_brown": ("brown", "棕"),
    "painter_red": ("red", "红"),
    "painter_orange": ("orange", "橙"),
    "painter_yellow": ("yellow", "黄"),
    "painter_green": ("green", "绿"),
    "painter_blue": ("blue", "蓝"),
    "painter_purple": ("purple", "紫"),
    "painter_mask_canvas": (
        "Your picture, {width} x {height} pixels: paint the part to be made anew",
        "你的图片，{width} x {height} 像素：涂出要重新生成的部分",
    ),
    "painter_mask_empty": (
        "Nothing is marked yet: paint over the part that shall be made anew.",
        "尚未标记：请涂出要重新生成的部分。",
    ),
    "painter_mask_share": (
        "{n} of {all} pixels ({percent} %) will be made anew",
        "{all} 个像素中的 {n} 个（{percent} %）将重新生成",
    ),
    "painter_mask_brush": ("Make anew", "重新生成"),
    "painter_mask_eraser": ("Keep", "保留"),
    "painter_paint_canvas": (
        "The estimate of the picture, {width} x {height} pixels: paint on it",
        "对图片的估计，{width} x {height} 像素：在上面作画",
    ),
    "painter_paint_empty": (
        "Nothing is painted yet: what you paint, the model takes as its own estimate.",
        "尚未作画：你画上的内容会被模型当作它自己的估计。",
    ),
    "painter_paint_share": (
        "{n} of {all} pixels ({percent} %) are painted",
        "{all} 个像素中画了 {n} 个（{percent} %）",
    ),
    "painter_paint_brush": ("Paint", "画笔"),
    "painter_paint_eraser": ("Erase", "橡皮"),
    "algorithm2_paper": (
        "Algorithm 2 of Ho et al. 2020, sampling: one pixel on its way, {pixel}.",
        "Ho 等人 2020 的算法 2（采样）：跟踪一个像素，{pixel}。",
    ),
    "algorithm2_other": (
        "The loop of Algorithm 2 (Ho et al. 2020) with the update of {sampler}: one pixel on its "
        "way, {pixel}.",
        "算法 2（Ho 等人 2020）的循环，更新式换成 {sampler} 的：跟踪一个像素，{pixel}。",
    ),
    "algorithm2_pixel": (
        "{channel}, row {row}, column {column} of picture {picture}",
        "第 {picture} 张图片第 {row} 行第 {column} 列的{channel}",
    ),
    "algorithm2_red": ("red", "红色分量"),
    "algorithm2_green": ("green", "绿色分量"),
    "algorithm2_blue": ("blue", "蓝色分量"),
    "algorithm2_opacity": ("opacity", "不透明度"),
    "algorithm2_grey": ("grey", "灰度值"),
    "algorithm2_for": ("for t = T, …, 1 do", "对 t = T, …, 1 循环"),
    "algorithm2_step": (
        "step {i} of {total}: from t = {t} to {s}",
        "第 {i} 步，共 {total} 步：从 t = {t} 到 {s}",
    ),
    "algorithm2_leap": (
        "; s is the next time down, and the step leaps over what lies between",
        "；s 是下一个时间，中间的时间一步跨过",
    ),
    "algorithm2_here": ("here {value}", "此处为 {value}"),
    "algorithm2_begun_at": (
        "this sampling begins at t = {t}, here with {value}",
        "这次采样从 t = {t} 开始，此处为 {value}",
    ),
    "algorithm2_if": (
        "z ~ N(0, I) if t > 1, else z = 0",
        "若 t > 1，z ~ N(0, I)，否则 z = 0",
    ),
    "algorithm2_if_leap": (
        "z ~ N(0, I) if s > 0, else z = 0",
        "若 s > 0，z ~ N(0, I)，否则 z = 0",
    ),
    "algorithm2_drawn": ("drawn here: z = {value}", "此处抽到 z = {value}"),
    "algorithm2_last": (
        "the last step: z = 0, nothing random is added",
        "最后一步：z = 0，不再加入随机量",
    ),
    "algorithm2_none": (
        "z = 0: {sampler} adds no noise on its way",
        "z = 0：{sampler} 途中不加噪声",
    ),
    "algorithm2_end": ("end for", "循环结束"),
    "algorithm2_return": ("return", "返回"),
    "algorithm2_steep": (
        "This step keeps so little of x_t that the usual form would divide by nearly 0; the same "
        "update is written with x_0 instead.",
        "这一步几乎不保留 x_t，通常的写法要除以接近 0 的数；这里用 x_0 写出同一个更新。",
    ),
    "algorithm2_first": (
        "its first-order part {first}; a second look at the network adds {rest}",
        "其中一阶部分为 {first}；再看一次网络带来的修正为 {rest}",
    ),
    "algorithm2_history": (
        "its first-order part {first}; what the network said before adds {rest}",
        "其中一阶部分为 {first}；网络先前的估计带来的修正为 {rest}",
    ),
    "algorithm2_rest": (
        "the formula gives {first}; what is set from outside (a part that is kept) adds {rest}",
        "公式得 {first}；外部设定（保留的部分）带来 {rest}",
    ),
    "algorithm2_x_t": (
        "this pixel before the step; a picture runs from -1 to 1",
        "这一步之前的像素值；图片的取值从 -1 到 1",
    ),
    "algorithm2_x_s": ("this pixel after the step", "这一步之后的像素值"),
    "algorithm2_x0": ("what the network expects at the end", "网络预计的最终值"),
    "algorithm2_eps": ("the noise that the network sees in x_t", "网络在 x_t 中看到的噪声"),
    "algorithm2_z": ("fresh noise of this step, standard normal", "这一步新抽的标准正态噪声"),
    "algorithm2_alpha_bar_t": ("share of the picture in x_t's variance", "x_t 方差中图片的份额"),
    "algorithm2_alpha_bar_s": ("the same after the step", "这一步之后的同一份额"),
    "algorithm2_alpha": ("what this step kept when noise was added", "加噪时这一步保留的份额"),
    "algorithm2_beta": (
        "the variance that this step added then, 1 - α",
        "当时这一步加入的方差，即 1 - α",
    ),
    "algorithm2_sigma": ("standard deviation of the noise added now", "现在加入的噪声的标准差"),
    "algorithm2_sigma_t": (
        "noise over picture before the step, √(1 - ᾱ_t) / √ᾱ_t",
        "这一步之前噪声与图片之比，√(1 - ᾱ_t) / √ᾱ_t",
    ),
    "algorithm2_sigma_s": ("noise over picture after the step", "这一步之后噪声与图片之比"),
    "algorithm2_sigma_down": (
        "how far the step goes down before fresh noise",
        "加入新噪声之前降到的噪声水平",
    ),
    "algorithm2_sigma_up": ("how much fresh noise brings it back up", "新噪声把它抬高的幅度"),
    "algorithm2_c_0": ("weight of x_0 in DDPM's equation 7", "DDPM 式 7 中 x_0 的权重"),
    "algorithm2_c_t": ("weight of x_t in DDPM's equation 7", "DDPM 式 7 中 x_t 的权重"),
    "algorithm2_shrink": (
        "noise after over noise before, √(1 - ᾱ_s) / √(1 - ᾱ_t)",
        "步后噪声与步前噪声之比，√(1 - ᾱ_s) / √(1 - ᾱ_t)",
    ),
    "algorithm2_e_h": (
        "σ_s / σ_t, how much of the noise ratio remains",
        "σ_s / σ_t，噪声比还剩多少",
    ),
}
