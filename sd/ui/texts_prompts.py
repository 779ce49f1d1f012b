"""Texts of what a model is asked for: key -> (English, Simplified Chinese)."""

TEXTS: dict[str, tuple[str, str]] = {
    "prompt": ("Prompt", "提示词"),
    "prompt_info": (
        "What the pictures shall show. One line, one prompt; the pictures take several in turn.",
        "想要图片显示什么。一行一条提示词；多行时各图片轮流使用。",
    ),
    "prompt_class": ("Class", "类别"),
    "prompt_class_info": (
        "What the pictures shall show; they take several in turn. None chosen: any.",
        "想要图片显示的类别；选多个时各图片轮流使用。不选则任意。",
    ),
    "prompt_unseen": ("never seen in training: {words}", "训练中从未见过：{words}"),
    "prompt_cut": (
        "the model reads {n} tokens, {cut} more are cut off",
        "模型只读 {n} 个词元，多出的 {cut} 个被截去",
    ),
    "prompt_examples": ("From the training set:", "来自训练集："),
    "guidance": ("Guidance", "引导强度"),
    "guidance_info": (
        "How strongly the wish is followed: 1 as it was learned, more exaggerates it.",
        "多大程度遵从要求：1 为所学的程度，更大则加以夸张。",
    ),
    "guidance_both": (
        "Each network call computes both halves: what is asked for, and what it is held against.",
        "每次网络调用同时计算两半：所要求的，以及与之对照的。",
    ),
    "guidance_no_half": (
        "Guidance 1 is used: this model never trained untold (conditioning.drop = 0), so there is "
        "nothing to lead away from.",
        "实际引导强度为 1：该模型从未在无提示下训练（conditioning.drop = 0），没有可远离的对照。",
    ),
    "negative": ("Away from", "远离"),
    "negative_info": (
        "What the pictures shall not be like; empty: away from no wish at all.",
        "不希望图片像什么；留空则以“无要求”为对照。",
    ),
    "negative_class": ("Away from class", "远离的类别"),
    "negative_class_info": (
        "A class that the pictures shall not be like; empty: away from no wish at all.",
        "不希望图片像哪个类别；留空则以“无要求”为对照。",
    ),
    "rescale": ("Guidance rescale", "引导重标度"),
    "rescale_info": (
        "Takes back how far strong guidance spreads the values: 0 not at all, 1 wholly.",
        "收回强引导造成的数值扩散：0 不收回，1 完全收回。",
    ),
    "interval_low": ("Guide down to, share of T", "引导到 T 的几成为止"),
    "interval_low_info": (
        "At less noise than this, the wish counts without guidance.",
        "噪声低于此处时不再引导，只按要求本身。",
    ),
    "interval_high": ("Guide from, share of T", "从 T 的几成起引导"),
    "interval_high_info": (
        "At more noise than this, the wish counts without guidance.",
        "噪声高于此处时尚不引导，只按要求本身。",
    ),
    "grid": ("Grid: prompts by guidance", "网格：提示词 × 引导强度"),
    "grid_about": (
        "Every prompt or class with every guidance, all from the same noise: what differs is what "
        "was asked for.",
        "每条提示词或类别配每个引导强度，起始噪声全部相同：差别只来自要求。",
    ),
    "grid_scales": ("Guidance scales", "各引导强度"),
    "grid_scales_info": (
        "One to six numbers from 0 to 10, with commas between.",
        "一到六个 0 到 10 的数，以逗号分隔。",
    ),
    "grid_go": ("Make the grid", "生成网格"),
    "legend_asked": ("Asked for", "要求"),
    "legend_turn": ("Asked for, in turn", "依次要求"),
    "legend_against": ("Away from", "远离"),
    "legend_guidance": ("Guidance", "引导强度"),
    "legend_down": ("Down", "从上到下"),
    "legend_across": ("Across: guidance", "从左到右：引导强度"),
    "node_grid": ("grid {down} x {across}", "网格 {down} x {across}"),
    "node_guidance": ("guidance {scale}", "引导 {scale}"),
    "branch_guidance": ("Guidance from there", "之后的引导强度"),
    "branch_guidance_info": (
        "How strongly the wish is followed from there; empty: as before.",
        "之后多大程度遵从要求；留空则不变。",
    ),
}
