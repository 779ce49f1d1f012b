"""Texts of where a model looked: key -> (English, Simplified Chinese)."""

TEXTS: dict[str, tuple[str, str]] = {
    "looked": ("Where it looked", "它看向哪里"),
    "looked_about": (
        "This is the model's own attention in one call of its network, at the step where the "
        "slider rests and for one picture: which parts of it look at each word, and where the "
        "place that you click looks. Press a word or a place to follow it through the sampling.",
        "这是模型自己的注意力（滑块所在的那一步、一张图片、网络的一次调用）："
        "图中哪些部分在看各个词，你点击之处又看向哪里。点选一个词或一处，可在整个采样过程中追踪它。",
    ),
    "looked_spot": (
        "The estimate of the picture: arrow keys move the place that looks",
        "对图片的估计：方向键移动观察点",
    ),
    "looked_place": (
        "Estimate of x0 at t = {t}. Click, or use arrow keys:",
        "t = {t} 时对 x0 的估计。点击或用方向键：",
    ),
    "looked_where": (
        "Where row {row}, column {column} looks",
        "第 {row} 行、第 {column} 列看向何处",
    ),
    "looked_words": (
        "Which parts look at each word. Every word has its own colours, up to its strongest place; "
        "its number is its share of all attention, and the rest goes to tokens that are no words.",
        "图中哪些部分在看各个词。每个词各用一套颜色，最亮处为该词最强处；"
        "数字是它占全部注意力的份额，其余落在不属于词的标记上。",
    ),
    "looked_tokens": (
        "Which parts look at each of the two tokens. Each has its own colours, up to its strongest "
        "place; its number is its share of all attention.",
        "图中哪些部分在看两个标记。各用一套颜色，最亮处为其最强处；数字是它占全部注意力的份额。",
    ),
    "looked_first": ("The first {n} of {all} words.", "共 {all} 个词，显示前 {n} 个。"),
    "looked_share": ("{n} %", "{n} %"),
    "looked_rest": ("(at rest)", "（静止标记）"),
    "looked_any": ("(any class)", "（任意类别）"),
    "looked_closed": (
        "{model} is a formula over the pictures: it has no network to look into.",
        "{model} 是关于图片集的公式，没有可供观察的网络。",
    ),
    "looked_untold": (
        "This model was trained without words or classes: places look at places alone.",
        "该模型训练时没有文字或类别，因此只有图中各处互看。",
    ),
    "looked_embedding": (
        "This model adds its class to the time: it is no token that a place could look at.",
        "该模型把类别加到时间上，没有可供图中各处去看的标记。",
    ),
    "looked_null": (
        "Guidance is 0 here: the network is not told the wish, so there is no word to look at.",
        "此处引导强度为 0：网络未得知所要求的内容，因此没有词可看。",
    ),
    "looked_nothing": (
        "Nothing that the model reads was asked of this picture: there is no word to look at.",
        "这张图片没有模型能读到的要求，因此没有词可看。",
    ),
    "looked_layer": ("Layer", "层"),
    "looked_layer_info": (
        "A layer of the network, or the mean of all.",
        "网络中的一层，或全部的平均。",
    ),
    "looked_averaged": ("averaged", "平均"),
    "looked_head": ("Head", "注意力头"),
    "looked_head_info": (
        "Each layer looks with several heads at once.",
        "每层同时用若干个头去看。",
    ),
    "looked_all": ("all", "全部"),
    "looked_picture": ("Picture", "第几张"),
    "looked_picture_info": (
        "Which of the pictures that were made together.",
        "同时生成的图片中的哪一张。",
    ),
    "looked_go": ("Through the sampling", "贯穿采样过程"),
    "looked_subject": ("shows how the heat of {of} changes", "查看{of}的热度如何变化"),
    "looked_progress": ("step {i} of {n}", "第 {i} / {n} 步"),
    "looked_done": ("{n} steps looked at in {s} s", "{n} 步，用时 {s} 秒"),
    "looked_strip": (
        "The heat of {of} over each step's own estimate; one scale of colours for all.",
        "{of}的热度，叠在各步自己的估计上；所有步共用一套颜色刻度。",
    ),
    "looked_step": ("step {i}", "第 {i} 步"),
}
