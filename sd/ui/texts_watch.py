"""The texts of a run that is watched and steered: key -> (English, Simplified Chinese)."""

TEXTS: dict[str, tuple[str, str]] = {
    "run": ("Run shown", "显示的运行"),
    "run_info": (
        "Every run is kept; emoji32 is the bundled example.",
        "每次运行都会保留；emoji32 是自带的示例。",
    ),
    "no_run": ("no run yet", "还没有运行"),
    "progress_alt": ("Progress of the run", "运行进度"),
    "state_starting": ("starting", "正在启动"),
    "state_reading": ("reading pictures: {done} of {total}", "正在读取图片：{done} / {total}"),
    "state_running": ("step {step} of {total}", "第 {step} 步，共 {total} 步"),
    "state_pausing": (
        "pausing: it saves after this step {step}",
        "正在暂停：第 {step} 步结束后保存",
    ),
    "state_paused": (
        "paused and saved at step {step} of {total}",
        "已在第 {step} 步暂停并保存，共 {total} 步",
    ),
    "state_stopping": (
        "stopping: it saves after this step {step}",
        "正在停止：第 {step} 步结束后保存",
    ),
    "state_finished": ("finished after {step} steps", "已完成，共 {step} 步"),
    "state_stopped": (
        "stopped and saved at step {step} of {total}",
        "已在第 {step} 步停止并保存，共 {total} 步",
    ),
    "state_failed": ("failed: {line}", "失败：{line}"),
    "state_stopped_early": ("stopped before the first step", "在第一步之前停止了"),
    "state_lost": (
        "the training process is gone since step {step}; nothing saved is lost",
        "训练进程在第 {step} 步之后消失了；已保存的都还在",
    ),
    "speed": ("{n} pictures/s", "每秒 {n} 张"),
    "left": ("{time} left", "剩余 {time}"),
    "view": ("Samples shown", "显示的样本"),
    "view_info": (
        "Averaged weights (EMA) are calmer, raw ones are ahead of them early on; "
        "or every sample beside the training picture most like it.",
        "平均权重（EMA）更平稳，训练初期原始权重走在前面；也可把每个样本与最像它的训练图片并排。",
    ),
    "view_averaged": ("averaged", "平均权重"),
    "view_raw": ("raw", "原始权重"),
    "view_nearest": ("nearest picture", "最近的图片"),
    "samples_alt": (
        "Samples of run {name} at step {step}, always from the same noises",
        "运行 {name} 在第 {step} 步的样本，始终从同一组噪声出发",
    ),
    "samples_wait": (
        "The first samples appear soon after the start",
        "开始后不久出现第一批样本",
    ),
    "samples_step": (
        "samples at step {step}, always from the same noises",
        "第 {step} 步的样本，始终从同一组噪声出发",
    ),
    "samples_raw": (
        "samples at step {step} from the raw weights, from the same noises",
        "第 {step} 步用原始权重得到的样本，噪声相同",
    ),
    "samples_nearest": (
        "samples at step {step}, each to the left of the training picture most like it, "
        "with its distance",
        "第 {step} 步的样本，右侧是与它最像的训练图片，下方是距离",
    ),
    "asked": ("Asked for: {prompts}", "要的是：{prompts}"),
    "asked_all": ("All were asked for: {prompt}", "全部要的是：{prompt}"),
    "no_raw": (
        "This run kept no samples of its raw weights:",
        "这次运行没有保存原始权重的样本：",
    ),
    "no_nearest": (
        "For these samples no nearest training pictures were kept:",
        "这些样本没有保存最近的训练图片：",
    ),
    "pair_sample_alt": ("Sample {n}", "样本 {n}"),
    "pair_picture_alt": ("The training picture most like it: {name}", "最像它的训练图片：{name}"),
    "likeness_copy": ("a copy", "复制"),
    "likeness_close": ("close", "很近"),
    "likeness_own": ("its own", "自成一幅"),
    "likeness_wait": (
        "With the first samples it is measured how near they come to training pictures.",
        "出现第一批样本时会测量它们与训练图片有多近。",
    ),
    "meter_few": (
        "The nearest of the {n} samples is {near} from a training picture; these pictures are too "
        "few to tell how near is usual.",
        "{n} 个样本中最近的一个与训练图片的距离为 {near}；图片太少，无法说明通常有多近。",
    ),
    "meter_own": (
        "None of the {n} samples is a copy: the nearest is {near} from a training picture.",
        "{n} 个样本都不是复制品：最近的一个与训练图片的距离为 {near}。",
    ),
    "meter_close": (
        "{k} of {n} samples come close to a training picture, the nearest at {near}.",
        "{n} 个样本中有 {k} 个接近某张训练图片，最近的距离为 {near}。",
    ),
    "meter_copy": (
        "{k} of {n} samples are copies of training pictures, the nearest at {near}.",
        "{n} 个样本中有 {k} 个是训练图片的复制品，最近的距离为 {near}。",
    ),
    "meter_held_out": (
        "0 is the same picture, about 1 one of its own. Grey: how near {count} held-out pictures, "
        "which were never trained on, come: 5% below {low}, half of them below {median}.",
        "0 表示同一张图片，约 1 表示自成一幅。灰色：{count} 张从未参与训练的留出图片"
        "有多近：5% 低于 {low}，一半低于 {median}。",
    ),
    "meter_training": (
        "0 is the same picture, about 1 one of its own. Grey: how near {count} training pictures "
        "come to each other: 5% below {low}, half of them below {median}.",
        "0 表示同一张图片，约 1 表示自成一幅。灰色：{count} 张训练图片彼此有多近："
        "5% 低于 {low}，一半低于 {median}。",
    ),
    "timeline": ("Training timeline", "训练时间线"),
    "timeline_info": (
        "Move it to see the same noises become pictures as the model learns; "
        "at the right end it follows the run.",
        "拖动它，看同一组噪声如何随训练变成图片；停在最右端时跟随运行。",
    ),
    "coach_title": ("What to know", "须知"),
    "fix": ("Plan with {settings}", "按 {settings} 制定方案"),
    "train_to": ("Train on to step {steps}", "继续训练到第 {steps} 步"),
    "fixed": (
        "This run's settings with {settings} are in the plan now; start when you like.",
        "方案已填入这次运行的设置，并改为 {settings}；随时可以开始。",
    ),
    "curve": ("Over the steps", "随步数变化"),
    "curve_info": (
        "The loss is how far the model's guess is from the truth, raw in grey and smoothed: "
        "it falls fast, then slowly, while the samples still improve.",
        "损失是模型的估计与真值的差距，灰色为原始值，彩色为平滑值：它先快后慢地下降，而样本仍在变好。",
    ),
    "curve_loss": ("loss", "损失"),
    "curve_rate": ("learning rate", "学习率"),
    "curve_gradient": ("gradient norm", "梯度范数"),
    "curve_speed": ("pictures/s", "每秒图片"),
    "loss_alt": (
        "Loss over {steps} steps, last {last}",
        "{steps} 步内的损失，最近为 {last}",
    ),
    "levels": ("Loss per noise level", "各噪声级的损失"),
    "levels_info": (
        "Training pictures against held-out ones, which are never trained on: "
        "where held-out rises above training, the model memorises.",
        "训练图片与从不参与训练的留出图片对比：留出的曲线高过训练的，说明模型在死记。",
    ),
    "levels_t": ("at each t", "按 t"),
    "levels_course": ("over the steps", "随步数"),
    "levels_alt": (
        "Loss at {n} noise levels at step {step}; training {train}, held-out {held} on average",
        "第 {step} 步在 {n} 个噪声级的损失；平均：训练 {train}，留出 {held}",
    ),
    "levels_train": ("training", "训练"),
    "levels_held": ("held-out", "留出"),
    "levels_wait": (
        "It is measured for the first time with the first samples.",
        "与第一批样本一起首次测量。",
    ),
    "levels_none": (
        "This run did not measure its loss per noise level.",
        "这次运行没有测量各噪声级的损失。",
    ),
    "levels_one": (
        "There is one measurement so far; a line needs two.",
        "目前只有一次测量，两次才能连成线。",
    ),
}
