"""The texts of what steers a run: key -> (English, Simplified Chinese)."""

TEXTS: dict[str, tuple[str, str]] = {
    "start": ("Start training", "开始训练"),
    "pause": ("Pause", "暂停"),
    "go_on": ("Go on", "继续"),
    "leave": ("Leave at once", "立即退出"),
    "resume": ("Resume", "恢复训练"),
    "train_note": (
        "Training goes on when you close this page; Stop and Pause save first.",
        "关闭本页训练也会继续；停止和暂停之前会先保存。",
    ),
    "sample_now": ("Sample now", "立即采样"),
    "save_now": ("Save now", "立即保存"),
    "asks_info": (
        "Samples on the fixed noises, or a checkpoint; neither changes what is learned.",
        "从固定噪声出样本，或存一个检查点；都不影响训练结果。",
    ),
    "asked_sample": (
        "Samples come after the step at hand.",
        "当前这一步结束后出样本。",
    ),
    "asked_save": (
        "It saves after the step at hand.",
        "当前这一步结束后保存。",
    ),
    "further": ("Steps to add", "再训练的步数"),
    "further_info": (
        "Training goes on from the last checkpoint for so many steps.",
        "从最后的检查点起继续训练这么多步。",
    ),
    "train_further": ("Train more", "继续训练"),
    "bundle": ("Take this run away, or open one", "带走这次运行，或打开一个"),
    "bundle_info": (
        "One zip with settings, history, samples and the newest checkpoint; "
        "opened here or elsewhere it is a run like any other.",
        "一个 zip，含设置、历史、样本和最新检查点；在这里或别处打开后与其他运行一样。",
    ),
    "bundle_whole": ("With what training needs to go on", "包含继续训练所需的内容"),
    "bundle_whole_info": (
        "Also the pictures and the optimiser's state: several times larger.",
        "还包含图片和优化器状态：大小为数倍。",
    ),
    "download": ("Download the bundle", "下载运行包"),
    "open_bundle": ("Open a bundle", "打开运行包"),
}
