"""The Train tab's texts: key -> (English, Simplified Chinese)."""

TEXTS: dict[str, tuple[str, str]] = {
    "train_pictures": ("1 Pictures", "1 图片"),
    "train_pictures_info": (
        "Drop one zip or many pictures. A zip keeps class folders (one folder per class); "
        "loose files and a chosen folder lose them.",
        "拖入一个 zip 或多张图片。zip 会保留类别文件夹（每类一个文件夹）；"
        "散放的文件和直接选择的文件夹不会保留类别。",
    ),
    "train_files": ("Zip or pictures", "zip 或图片"),
    "train_folder": ("Choose a folder", "选择文件夹"),
    "train_starter": ("Starter set", "使用自带图集"),
    "train_preview_alt": (
        "The first pictures of the set, cut as the model will see them",
        "图集的前几张图片，按模型所见裁剪",
    ),
    "report_count": ("{n} pictures", "{n} 张图片"),
    "report_classes": ("{n} classes", "{n} 个类别"),
    "report_captions": ("{n} with captions", "{n} 张带文字说明"),
    "report_sizes": ("{low} to {high} pixels wide", "宽 {low} 至 {high} 像素"),
    "report_size": ("{w} × {h} pixels each", "每张 {w} × {h} 像素"),
    "report_left_out": ("{n} left out", "{n} 个未使用"),
    "report_more": ("and {n} more", "另有 {n} 个"),
    "train_plan": ("2 Plan", "2 方案"),
    "preset": ("Preset", "预设"),
    "preset_info": (
        "A whole set of settings; it fills in the fields below.",
        "一整套设置；会填入下面各项。",
    ),
    "preset_tiny": ("tiny: 32 pixels, for two CPU cores", "tiny：32 像素，适合双核 CPU"),
    "preset_small": ("small: 64 pixels, for a GPU", "small：64 像素，适合 GPU"),
    "preset_seed-fixed": (
        "seed-fixed: the original, schedule corrected",
        "seed-fixed：原作网络，噪声表已修正",
    ),
    "preset_seed": (
        "seed: the original as its author wrote it",
        "seed：原作者的设置，原样保留",
    ),
    "size": ("Picture size", "图片边长"),
    "size_info": (
        "Pixels along each side; pictures are cropped to a square and resized.",
        "每边像素数；图片先裁成正方形再缩放。",
    ),
    "train_steps": ("Steps", "训练步数"),
    "train_steps_info": (
        "Corrections of the weights, one batch each; 0: the preset's epochs.",
        "权重更新的次数，每次看一批；0 表示按预设的轮数。",
    ),
    "batch": ("Batch size", "批大小"),
    "batch_info": (
        "Pictures per step: more is steadier and slower.",
        "每步的图片数：越大越平稳，也越慢。",
    ),
    "rate": ("Learning rate", "学习率"),
    "rate_info": (
        "How far one step moves the weights; too high and the loss explodes.",
        "每步移动权重的幅度；过大则损失会发散。",
    ),
    "train_seed_info": (
        "The same seed and settings give the same model.",
        "种子与设置相同，得到的模型也相同。",
    ),
    "device": ("Device", "设备"),
    "device_info": (
        "auto takes a GPU where there is one, else the CPU.",
        "auto：有 GPU 就用 GPU，否则用 CPU。",
    ),
    "start": ("Start training", "开始训练"),
    "train_note": (
        "Training goes on when you close this page; Stop saves before it ends.",
        "关闭本页训练也会继续；停止前会先保存。",
    ),
    "run": ("Run shown", "显示的运行"),
    "run_info": (
        "Every run is kept; emoji32 is the bundled example.",
        "每次运行都会保留；emoji32 是自带的示例。",
    ),
    "samples_alt": (
        "Samples of run {name} at step {step}, always from the same noises",
        "运行 {name} 在第 {step} 步的样本，始终从同一组噪声出发",
    ),
    "samples_wait": (
        "The first samples appear soon after the start",
        "开始后不久出现第一批样本",
    ),
    "timeline": ("Training timeline", "训练时间线"),
    "timeline_info": (
        "Move it to see the same noises become pictures as the model learns; "
        "at the right end it follows the run.",
        "拖动它，看同一组噪声如何随训练变成图片；停在最右端时跟随运行。",
    ),
    "samples_step": (
        "samples at step {step}, always from the same noises",
        "第 {step} 步的样本，始终从同一组噪声出发",
    ),
    "loss": ("loss", "损失"),
    "loss_alt": (
        "Loss over {steps} steps, last {last}",
        "{steps} 步内的损失，最近为 {last}",
    ),
    "loss_about": (
        "Loss: how far the model's guess is from the truth, raw (grey) and smoothed. "
        "It falls fast, then slowly, while the samples still improve.",
        "损失：模型的估计与真值的差距，灰色为原始值，彩色为平滑值。"
        "它先快后慢地下降，而样本仍在变好。",
    ),
    "state_starting": ("starting", "正在启动"),
    "state_running": ("step {step} of {total}", "第 {step} 步，共 {total} 步"),
    "state_finished": ("finished after {step} steps", "已完成，共 {step} 步"),
    "state_stopped": (
        "stopped and saved at step {step} of {total}",
        "已在第 {step} 步停止并保存，共 {total} 步",
    ),
    "state_failed": ("failed: {line}", "失败：{line}"),
    "state_lost": (
        "the training process is gone since step {step}",
        "训练进程在第 {step} 步之后消失了",
    ),
    "speed": ("{n} pictures/s", "每秒 {n} 张"),
    "left": ("{time} left", "剩余 {time}"),
    "stopping": ("stopping after this step", "这一步结束后停止"),
    "no_run": ("no run yet", "还没有运行"),
}
