"""The coach's sentences: key -> (English, Simplified Chinese)."""

from sd.coach import LINES

CHINESE = {
    "not_finite": "训练在第 {step} 步结束：损失连续多次不再是一个数。第 {saved} 步的检查点完好。"
    "学习率 {rate} 过高，请改用 {better} 重新开始。",
    "not_finite_unsaved": "训练在第 {step} 步结束：损失连续多次不再是一个数，此时还没有检查点。"
    "学习率 {rate} 过高，请改用 {better} 重新开始。",
    "skipped": "第 {step} 步的损失不是一个数；这一步已跳过，权重保持原样。偶尔一次没有影响。",
    "skipped_often": "已有 {count} 步得不到有限的数而被跳过，最近一次在第 {step} 步。"
    "学习率 {rate} 过高，请改用 {better} 重新开始。",
    "explodes": "到第 {step} 步，损失从 {low} 跳升到 {now}：步子太大，毁掉了已学到的东西。"
    "请停止，并把学习率从 {rate} 改为 {better} 后重新开始。",
    "stuck_high": "{step} 步以来损失没有下降（开始为 {first}，现在为 {now}）："
    "学习率 {rate} 过高，请改用 {better} 重新开始。",
    "stuck_low": "{step} 步以来损失没有下降（开始为 {first}，现在为 {now}）："
    "学习率 {rate} 过低，请改用 {better} 重新开始。",
    "copies": "第 {step} 步的 {count} 个样本中有 {copies} 个几乎照搬了某张训练图片："
    "距离小于 {low}，而并非照搬的图片只有 5% 会这么近。请减少步数，或增加图片。",
    "memorises": "从第 {since} 步起，训练损失继续下降，留出图片的损失却在上升（{low} 升到 {now}）："
    "网络正在死记这 {pictures} 张图片。"
    "请只训练约 {since} 步，或增加图片，或加一点平移和 dropout。",
    "terminal_snr": "噪声在信噪比 {snr} 处就结束，高于 {limit}：训练从未见过纯噪声，"
    "采样却从纯噪声开始，所以样本会发灰或明暗失真。请在训练前修正噪声表。",
    "terminal_snr_run": "样本发灰或明暗失真，原因在噪声表：噪声在信噪比 {snr} 处就结束，"
    "高于 {limit}，训练从未见过采样起点的纯噪声。多训练也无济于事：请修正噪声表后重新开始。",
    "few_steps": "{steps} 步不够（{pictures} 张图片看 {passes} 遍，每次 {batch} 张）："
    "网络先学会噪声的样子，大约 {shapes} 步之后才出现形状。请训练 {better} 步。",
    "few_minutes": "按现在的速度，{minutes} 分钟约为 {steps} 步，"
    "而形状大约在 {shapes} 步之后才出现。请给它 {better} 分钟，或换一个更小的网络。",
    "ema_young": "第 {step} 步的平均（EMA）权重还包含之前 {length} 步的状态，那时网络明显更差。"
    "大约第 {until} 步之前，请看原始权重的样本。",
    "noise_yet": "第 {step} 步的样本还是噪声和色块，这是正常的：大约 {shapes} 步之后才出现形状。"
    "请让它继续。",
    "still_falling": "结束时损失仍在下降：最后四分之一里降了 {percent}%，到 {now}。"
    "请再训练约 {more} 步。",
    "levelled": "损失已稳定在 {now}：最后四分之一只降了 {percent}%。"
    "再加步数作用不大；更多图片或更宽的网络才有用。",
    "duplicates": "{pictures} 张图片中有 {duplicates} 张与其他图片完全相同：它们被重复计算，"
    "也最先被死记。如非有意，请删去。",
    "few_pictures": "只有 {pictures} 张图片：训练久了，网络会照搬而不是创造。"
    "请增加图片，或减少步数。",
    "same_captions": "全部 {captions} 条文字说明都一样，词语就学不到任何意思。"
    "请给每张图片各自的文字，或改为告诉模型别的。",
    "few_of_class": "{names}：少于 {few} 张图片的类别，模型几乎只会记住这几张，"
    "点名要它时会接近复制。请增加图片，或不选该类别。",
    "leak": "{settings}：这么强的变化也会被学进去，样本会跟着偏移、倾斜或明暗失真。请调小一些。",
    "flip": "训练时有一半的图片被左右翻转，所以样本也可能是镜像的。"
    "对文字、数字和分左右的东西，请关闭翻转。",
    "grey": "图片是彩色的，但 unet.channel = 1 会把它们变成灰度。请改为 3。",
    "rate_high": "学习率 {rate} 常使损失发散。请从 {better} 开始。",
    "no_held_out": "没有留出图片，就没有曲线能看出网络是在学习还是在死记。请留出 5%。",
    "only_end": "要到 {steps} 步全部结束才有样本和检查点：途中什么也看不到，一旦断电便前功尽弃。"
    "请每 {every} 步各存一次。",
    "ema_long": "ema_decay = {decay} 要平均 {length} 步，而这次运行只有 {steps} 步："
    "实际只会平均已完成步数的九分之一，写成 {better} 更直接。",
    "well": "一切正常：{step} 步内损失从 {first} 降到 {now}。",
}

TEXTS: dict[str, tuple[str, str]] = {
    f"coach_{kind}": (line, CHINESE[kind]) for kind, line in LINES.items()
}
