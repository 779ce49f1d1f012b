"""Texts of what is folded away on the Noise tab: key -> (English, Simplified Chinese)."""

TEXTS: dict[str, tuple[str, str]] = {
    "noise_pair": ("Two schedules", "两种噪声表"),
    "noise_pair_about": (
        "The same picture and the same noise under two schedules, moved by one t.",
        "同一张图片、同一噪声，用同一个 t 比较两种噪声表。",
    ),
    "noise_other": ("The other schedule", "另一种噪声表"),
    "noise_other_info": (
        "Shown at the right, beside the one chosen above.",
        "显示在右边，与上面所选的并排。",
    ),
    "noise_align": (
        "What the two have in common: the share of the way, or the signal-to-noise ratio. At equal "
        "SNR the pictures are alike; only the times differ.",
        "两者以何对齐：同样的进度，或同样的信噪比。信噪比相同时图片一样，只是时间不同。",
    ),
    "noise_align_share": ("same share of T", "相同进度"),
    "noise_align_snr": ("equal SNR", "相同信噪比"),
    "sight": ("What the model sees", "模型看到什么"),
    "sight_about": (
        "A model answers from x_t at once, without sampling: what is the picture, what is the "
        "noise? It works at its own size and on its own schedule, at the same mix of both.",
        "模型直接由 x_t 一次作答，不经采样：哪些是图片，哪些是噪声？"
        "它用自己的尺寸和噪声表，信噪比与上面相同。",
    ),
    "sight_model": ("Model", "模型"),
    "sight_model_info": (
        "A trained model, or a closed form of a picture set.",
        "训练好的模型，或图片集的闭式解。",
    ),
    "sight_go": ("Ask the model", "询问模型"),
    "sight_progress": ("time {i} of {n}", "第 {i} / {n} 个时间"),
    "sight_x0": ("its picture, wrong by {rms} (RMS)", "它认为的图片，误差 {rms}（均方根）"),
    "sight_eps": ("its noise, wrong by {rms} (RMS)", "它认为的噪声，误差 {rms}（均方根）"),
    "sight_strip": (
        "The same at ten times. Each column from above: t, x_t, the model's picture, its noise, "
        "and the error (RMS) of both. Pictures go from -1 to 1.",
        "十个时间的结果。每列自上而下：t、x_t、模型的图片、模型的噪声，以及两者的误差（均方根）。"
        "图片取值 -1 到 1。",
    ),
    "sight_column": ("x0 {x0}<br>eps {eps}", "x0 {x0}<br>eps {eps}"),
    "trip_go": ("There and back", "加噪再还原"),
    "trip_own": ("the picture's spread", "图片的标准差"),
    "trip_alt": (
        "Error of what came back over t; from t = {t} it is {rms}",
        "还原误差随 t 的变化；从 t = {t} 还原的误差为 {rms}",
    ),
    "trip_strip": (
        "The picture noised to t and brought back with DDIM in at most {n} calls of the network: "
        "how much comes back. Above the grey line nothing of it does. Below: x_t, what came back, "
        "error and PSNR.",
        "图片加噪到 t，再用 DDIM（网络最多调用 {n} 次）还原：能回来多少。"
        "高于灰线就什么也没回来。下面依次为：x_t、还原结果、误差与 PSNR。",
    ),
    "walk": ("One step at a time", "逐步加噪"),
    "walk_about": (
        "The definition adds a little noise t times; the closed form jumps to t at once. Both are "
        "shown here on a small copy of the picture, at the t above.",
        "定义是把少量噪声加 t 次；闭式公式一步到达 t。这里用图片的小副本在上面的 t 处比较两者。",
    ),
    "walk_go": ("Take the steps", "逐步走到 t"),
    "walk_way": ("On the way, at these t:", "途中，各 t 处："),
    "walk_stepped": ("t single steps, fresh noise in each", "t 个单步，每步新噪声"),
    "walk_jumped": ("one jump, noise of its own", "一步到位，另取噪声"),
    "walk_coupled": ("one jump, the steps' noises added up", "一步到位，用各步噪声之和"),
    "walk_numbers": (
        "noise inside: mean {mean}, standard deviation {std}, {far} from N(0, 1)",
        "其中的噪声：均值 {mean}，标准差 {std}，与 N(0, 1) 相差 {far}",
    ),
    "walk_equal": (
        "Equal in distribution: at t = {t} the noise in all three is N(0, 1); so many values may "
        "by chance lie up to {n} from it. With the steps' own noises added up, equal exactly: the "
        "largest difference is {gap}.",
        "分布相同：t = {t} 时三者所含噪声都是 N(0, 1)，这么多样本偶然可相差到 {n}。"
        "用各步噪声之和时完全相等：最大差异 {gap}。",
    ),
    "break": ("Noise with another mean", "均值不为零的噪声"),
    "break_about": (
        "The original lets the noise have any mean and spread. Move them: the picture "
        "above follows.",
        "原项目允许噪声取任意均值和标准差。移动滑块，上面的图片随之变化。",
    ),
    "noise_mean": ("Mean of the noise", "噪声均值"),
    "noise_mean_info": ("0 is what the theory assumes.", "理论假设为 0。"),
    "noise_std": ("Spread of the noise", "噪声标准差"),
    "noise_std_info": ("1 is what the theory assumes.", "理论假设为 1。"),
    "break_none": (
        "With mean 0 the steps and the closed form agree. Move the mean to see them part.",
        "均值为 0 时逐步与闭式一致。移动均值，看两者分开。",
    ),
    "break_chain": ("mean by steps", "逐步的均值"),
    "break_closed": ("closed form", "闭式"),
    "break_told": (
        "With mean {mean} in every step the chain's mean is {chain} at t = {t}, where the closed "
        "form says {closed}: means add up step by step, while only variances add up as the closed "
        "form's square root has it. A different spread does no such harm.",
        "若每步噪声的均值为 {mean}，到 t = {t} 时链的均值是 {chain}，闭式却说是 {closed}："
        "均值逐步直接相加，只有方差才按闭式的平方根规律相加。改变标准差则无妨。",
    ),
    "algorithm": ("Algorithm 1, with these numbers", "算法 1，代入这些数字"),
    "algorithm_about": (
        "One pass of the training loop of Ho et al. (2020) over this picture, line by line. "
        "Nothing is trained: the gradient step is only told.",
        "用这张图片逐行走一遍 Ho 等人（2020）的训练循环。这里不训练，只说明梯度那一步。",
    ),
    "algorithm_model": ("Network", "网络"),
    "algorithm_model_info": (
        "Whose answer is compared with the noise that was drawn.",
        "用它的回答与所抽的噪声比较。",
    ),
    "algorithm_go": ("Draw t and eps", "抽取 t 与 eps"),
    "algorithm_back": ("Line before", "上一行"),
    "algorithm_on": ("Next line", "下一行"),
    "algorithm_repeat": (
        "Each pass takes other pictures, another t and another eps.",
        "每一遍都换图片、换 t、换 eps。",
    ),
    "algorithm_x0": (
        "this picture, {size} values: {values}",
        "这张图片，{size} 个值：{values}",
    ),
    "algorithm_t": ("drawn: t = {t} of {T}", "抽到：t = {t}（共 {T}）"),
    "algorithm_eps": ("drawn: {values}, length {norm}", "抽到：{values}，长度 {norm}"),
    "algorithm_x_t": (
        "= {a} x_0 + {b} eps = {values}",
        "= {a} x_0 + {b} eps = {values}",
    ),
    "algorithm_answer": (
        "the network is shown x_t and the time {s} (it counts from 0) and says: {values}",
        "网络看到 x_t 和时间 {s}（它从 0 数起），回答：{values}",
    ),
    "algorithm_loss": (
        "mean squared error {loss}: every weight moves a little against its gradient.",
        "均方误差 {loss}：每个权重沿其梯度的反方向移动一点。",
    ),
    "algorithm_loss_other": (
        "mean squared error {loss}. This network is trained to say {kind}, where its error is "
        "{own}: every weight moves a little against the gradient of that.",
        "均方误差 {loss}。这个网络学习的是 {kind}，其误差为 {own}："
        "每个权重沿它的梯度反方向移动一点。",
    ),
    "algorithm_until": (
        "Thousands of passes later the error no longer falls.",
        "几千遍之后，误差不再下降。",
    ),
}
