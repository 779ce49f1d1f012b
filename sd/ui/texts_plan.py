"""Texts of the Train tab before the start: key -> (English, Simplified Chinese)."""

from sd.reasons import LINES
from sd.ui.texts_settings import ABOUT

WHY_ZH = {
    "size": "图片边长 {side}：在这里能训练足够步数的最大尺寸，共 {steps} 步；"
    "约 {enough} 步可看出形状。",
    "short": "{minutes} 分钟只够最小的网络训练 {steps} 步；出现形状约需 {enough} 步，"
    "即 {needed_minutes} 分钟。",
    "larger": "更大一档 {side} × {side} 像素约需 {needed_minutes} 分钟。",
    "crowded": "更大的图片或网络装不进内存。",
    "small_pictures": "不超过 {side} × {side} 像素，因为图片本身短边只有 {shortest} 像素。",
    "steps": "{minutes} 分钟约 {steps} 步；每张图片看 {passes} 遍。",
    "few": "只有 {pictures} 张图片：步数较少就够，生成的图可能接近原图的复制。",
    "speed": "在 {machine} 上测得：每步 {milliseconds} 毫秒，每秒 {pictures_per_second} 张。",
    "network": "网络有 {parameters} 百万个参数，一次看 {batch} 张。",
    "bfloat16": "用 bfloat16 相乘，在这里测得速度是 float32 的 {ratio} 倍。",
    "told_captions": "会告诉它文字说明（{pictures} 张中有 {captions} 张）："
    "里面的内容以后可以点名要。",
    "told_classes": "会告诉它每张图片的类别，共 {labels} 类：以后可以点名要某一类。",
    "told_nothing": "只告诉它时间：这些图片没有文字说明，也没有两个类别。",
    "told_not": "只告诉它时间，这是所选的。",
    "ema": "平均权重回看约 {length} 步，占全部的 {percent}%。",
    "warmup": "学习率在前 {warmup} 步升起，占全部的 {percent}%。",
    "samples": "每 {every} 步生成样本，约隔 {seconds} 秒，共 {sheets} 张。",
    "saves": "每 {every} 步保存检查点：进程若被杀，约损失 {seconds} 秒。",
    "held_out": "留出 {count} 张不参与训练，用来看网络是在学习还是死记。",
    "memory": "约需内存 {needed}；可用 {available}。",
}
WHY = {f"why_{kind}": (line, WHY_ZH[kind]) for kind, line in LINES.items()}

PICTURES = {
    "train_pictures": ("1 Pictures", "1 图片"),
    "train_pictures_info": (
        "Drop one zip or many pictures, with their captions. A zip and a chosen folder keep class "
        "folders (one folder per class); loose files lose them.",
        "拖入一个 zip 或多张图片（可连同文字说明）。zip 和选择的文件夹会保留类别文件夹"
        "（每类一个文件夹）；散放的文件不会保留类别。",
    ),
    "train_files": ("Zip or pictures", "zip 或图片"),
    "train_folder": ("Choose a folder", "选择文件夹"),
    "train_starter": ("Starter set", "使用自带图集"),
    "train_shapes": ("Drawn shapes", "使用图形集"),
    "train_preview_alt": (
        "Pictures of the set, as the model will see them",
        "图集中的几张图片，与模型所见相同",
    ),
    "train_changed_alt": (
        "Above: pictures as the model would see them. Below: the same, changed at random",
        "上排：模型所见的图片。下排：同样的图片，经过随机变动",
    ),
    "preview_plain": (
        "As the model will see them: {w} × {h} pixels.",
        "模型所见：{w} × {h} 像素。",
    ),
    "preview_transparent": (
        "It learns their transparency too (unet.channel = 4); here they lie on white.",
        "它也会学习透明度（unet.channel = 4）；这里以白色为底显示。",
    ),
    "preview_changed": (
        "As the model will see them, {w} × {h} pixels; below, changed at random.",
        "模型所见：{w} × {h} 像素；下排为随机变动后。",
    ),
    "read_progress": ("{done} of {total} pictures read", "已读 {done} / {total} 张图片"),
    "read_begin": ("Looking at the pictures", "正在查看图片"),
    "report_count": ("{n} pictures", "{n} 张图片"),
    "report_classes": ("{n} classes", "{n} 个类别"),
    "report_captions": ("{n} with captions", "{n} 张带文字说明"),
    "report_sizes": ("{low} to {high} pixels wide", "宽 {low} 至 {high} 像素"),
    "report_size": ("{w} × {h} pixels each", "每张 {w} × {h} 像素"),
    "report_left_out": ("{n} left out", "{n} 个未使用"),
    "report_more": ("and {n} more", "另有 {n} 个"),
    "report_duplicates": ("exact copies: {n}", "{n} 张完全重复"),
    "report_alike": ("{names}: the same picture", "{names}：是同一张图片"),
    "report_details": ("Sizes, channels, classes", "尺寸、通道、类别"),
    "report_sizes_row": ("Sizes", "尺寸"),
    "report_modes_row": ("Channels", "通道"),
    "report_classes_row": ("Classes", "类别"),
    "mode_grey": ("grey ({mode})", "灰度（{mode}）"),
    "mode_colour": ("colour ({mode})", "彩色（{mode}）"),
    "cut_none": ("Nothing is cut off.", "不会裁掉任何内容。"),
    "cut": (
        "Cropping cuts into {n} of {total} pictures: {mean} on average, {worst} at worst.",
        "裁剪会切到 {total} 张中的 {n} 张：平均切去 {mean}，最多 {worst}。",
    ),
    "cut_pad": (
        "Pictures of another shape get white borders; nothing is cut off.",
        "形状不同的图片会补白边，不裁掉内容。",
    ),
    "cut_stretch": (
        "Pictures of another shape are stretched; nothing is cut off.",
        "形状不同的图片会被拉伸，不裁掉内容。",
    ),
    "pick_classes": ("Classes", "类别"),
    "pick_classes_info": (
        "Train on these alone; none chosen takes every picture.",
        "只用所选类别训练；不选则用全部图片。",
    ),
    "pick_kind": ("What the model is told", "告诉模型什么"),
    "pick_kind_info": (
        "What it is told in training can be asked for later; auto takes what is there.",
        "训练时告诉它的，以后就能点名要；auto 用现有的。",
    ),
    "kind_auto": ("auto: captions, else classes", "auto：文字说明，否则类别"),
    "kind_none": ("nothing but the time", "只有时间"),
    "kind_class_embedding": ("the class, added to the time", "类别，加到时间上"),
    "kind_class_tokens": ("the class, by attention", "类别，通过注意力"),
    "kind_captions": ("the captions, by attention", "文字说明，通过注意力"),
    "told_captions": (
        "Captions: {n} of {total} pictures; the model will be told them.",
        "文字说明：{total} 张中有 {n} 张；会告诉模型。",
    ),
    "told_some_captions": (
        "{n} of {total} pictures have captions; the others train without words.",
        "{total} 张图片中有 {n} 张带文字说明；其余的不带文字训练。",
    ),
    "told_class_embedding": (
        "{n} classes; the model will be told each picture's, added to the time.",
        "{n} 个类别；会告诉模型每张图片的类别，加到时间上。",
    ),
    "told_class_tokens": (
        "{n} classes; the model will be told each picture's, and attention to it can be seen.",
        "{n} 个类别；会告诉模型每张图片的类别，对它的注意力可以看到。",
    ),
    "told_nothing": (
        "No classes or captions: the model is told nothing but the time.",
        "没有类别或文字说明：模型只知道时间。",
    ),
    "told_not": (
        "The model will be told nothing but the time; no picture can be asked for by name.",
        "模型只知道时间；以后不能点名要图片。",
    ),
    "pick_fit": ("Other shapes", "形状不同时"),
    "pick_held_out": ("Held out", "留出比例"),
    "held_pictures": (
        "Kept out of training: {held} of {total} pictures.",
        "{total} 张中有 {held} 张不参与训练。",
    ),
    "fit_crop": ("crop to the middle", "裁取中间"),
    "fit_pad": ("add white borders", "补白边"),
    "fit_stretch": ("stretch", "拉伸"),
    "changes": ("Change the pictures a little", "给图片加一点变化"),
    "changes_info": (
        "Random changes, drawn anew each time, help a small set; what is changed here is learned "
        "too, so keep it mild.",
        "每次随机变动，有助于小图集；但变动本身也会被学到，因此宜小不宜大。",
    ),
    "pick_flip": ("Mirror", "左右翻转"),
    "pick_shift": ("Shift", "平移"),
    "pick_rotation": ("Rotate", "旋转"),
    "pick_brightness": ("Brightness", "亮度"),
}

PLAN = {
    "train_plan": ("2 Plan", "2 方案"),
    "plan_minutes": ("Minutes", "分钟"),
    "plan_minutes_info": (
        "How long training may take; this machine is measured, and what fits is chosen.",
        "训练可用的时间；会先测量这台机器，再选出合适的设置。",
    ),
    "plan_go": ("Plan", "制定方案"),
    "plan_forecast": ("Measure these settings", "测量当前设置"),
    "plan_stop": ("Cancel", "取消"),
    "plan_measuring": ("Measuring this machine: {s} s", "正在测量这台机器：{s} 秒"),
    "plan_cancelled": ("Cancelled; nothing was changed.", "已取消，未作改动。"),
    "plan_planned": (
        "Planned for {minutes} minutes on this machine",
        "为本机 {minutes} 分钟制定的方案",
    ),
    "plan_measured": ("Measured on this machine", "在本机测得"),
    "plan_why": ("Why", "原因"),
    "plan_mend": ("Set {settings}", "设 {settings}"),
    "forecast_time": (
        "about {time}: {steps} steps, {speed} pictures/s, samples included",
        "约 {time}：{steps} 步，每秒 {speed} 张，含生成样本",
    ),
    "forecast_memory": (
        "about {memory} of memory; {available} are free",
        "约需内存 {memory}；可用 {available}",
    ),
    "preset": ("Preset", "预设"),
    "preset_info": (
        "A whole set of settings to begin with.",
        "作为起点的一整套设置。",
    ),
    "preset_tiny": ("tiny: 32 pixels, for two CPU cores", "tiny：32 像素，适合双核 CPU"),
    "preset_small": (
        "small: 64 pixels, for two CPU cores with patience",
        "small：64 像素，双核 CPU 需要耐心",
    ),
    "preset_gpu": ("gpu: 64 pixels, for a GPU", "gpu：64 像素，适合 GPU"),
    "preset_seed-fixed": (
        "seed-fixed: the original, schedule corrected",
        "seed-fixed：原作网络，噪声表已修正",
    ),
    "preset_seed": (
        "seed: the original as its author wrote it",
        "seed：原作者的设置，原样保留",
    ),
    "outline": (
        "{w} × {h} px, {parameters} parameters, {steps} of {batch} pictures",
        "{w} × {h} 像素，{parameters} 个参数，{steps}，每步 {batch} 张",
    ),
    "outline_steps": ("{n} steps", "{n} 步"),
    "outline_minutes": ("{n} steps or {m} minutes", "{n} 步或 {m} 分钟"),
    "settings": ("All settings", "全部设置"),
    "settings_info": (
        "Every key of the ini file, in its four groups.",
        "ini 文件的每一项，分为四组。",
    ),
    "settings_load": ("Load an ini file", "载入 ini 文件"),
    "settings_save": ("Save as an ini file", "存为 ini 文件"),
    "settings_loaded": ("{name} was loaded.", "已载入 {name}。"),
    "unused_dataset_path": (
        "Its dataset_path ({path}) is not used here: the page trains on the pictures chosen above.",
        "其中的 dataset_path（{path}）在此不用：本页使用上面选的图片训练。",
    ),
    "unused_save_path": (
        "Its save_path ({path}) is not used here: the page keeps what it makes in the run.",
        "其中的 save_path（{path}）在此不用：本页把结果保存在运行中。",
    ),
    "unused_num_classes": (
        "Its num_classes ({count}) is not used here: it follows from the classes of the pictures.",
        "其中的 num_classes（{count}）在此不用：它由图片的类别决定。",
    ),
    "unused_setting": (
        "{name} = {value} is not used: {reason}.",
        "{name} = {value} 未使用：{reason}。",
    ),
    "unused_because_minutes": ("training.minutes ends the run", "由 training.minutes 结束训练"),
    "unused_because_steps": ("training.steps counts", "以 training.steps 为准"),
    "unused_because_head_channels": (
        "unet.num_head_channels decides",
        "由 unet.num_head_channels 决定",
    ),
    "unused_because_resblocks": (
        "unet.resblock_updown resamples",
        "由 unet.resblock_updown 重采样",
    ),
    "unused_because_no_betas": (
        "this diffusion.schedule has none",
        "所选的 diffusion.schedule 没有此项",
    ),
    "unused_because_told_nothing": ("the model is told nothing", "模型不接受任何提示"),
    "unused_because_no_captions": ("the model reads no captions", "模型不读取描述文字"),
    "unused_because_encoder": (
        "conditioning.encoder reads the captions",
        "由 conditioning.encoder 读取描述文字",
    ),
    "group_training": ("Training", "训练"),
    "group_training_info": (
        "The pictures' size, the optimiser, and what is kept on the way.",
        "图片大小、优化器，以及途中保存什么。",
    ),
    "group_unet": ("U-Net", "U-Net"),
    "group_unet_info": (
        "The network; the table shows what these settings build, level by level.",
        "网络本身；下表逐层列出这些设置会搭出什么。",
    ),
    "group_diffusion": ("Diffusion", "扩散"),
    "group_diffusion_info": (
        "How a picture turns into noise, and what the network estimates.",
        "图片如何变成噪声，以及网络估计什么。",
    ),
    "group_conditioning": ("Conditioning", "条件"),
    "group_conditioning_info": (
        "How captions and classes are told; which of them, is chosen beside the pictures.",
        "怎样告诉模型文字说明和类别；告诉哪一样，在图片旁边选。",
    ),
    "doctor_good": (
        "The noise ends at a signal-to-noise ratio of {snr}: pure enough to start sampling from.",
        "噪声终点的信噪比为 {snr}：足够纯，可以由此开始采样。",
    ),
    "level_part": ("Level", "层"),
    "level_size": ("Size", "大小"),
    "level_channels": ("Channels", "通道"),
    "level_heads": ("Heads", "注意力头"),
    "level_parameters": ("Param.", "参数"),
    "level_operations": ("FLOP", "运算量"),
    "level_total": ("all", "合计"),
    "level_time": ("time", "时间"),
    "level_entry": ("entry", "入口"),
    "level_down": ("down {n}", "下 {n}"),
    "level_middle": ("middle", "中间"),
    "level_up": ("up {n}", "上 {n}"),
    "level_exit": ("exit", "出口"),
    "level_note": (
        "Operations are per picture forward; training keeps about {kept} for a batch of {batch}.",
        "运算量为每张图片前向一次；训练一批 {batch} 张约占用 {kept}。",
    ),
    "train_seed_info": (
        "The same seed and settings give the same model; -1 draws one.",
        "种子与设置相同，得到的模型也相同；-1 为随机。",
    ),
    "device": ("Device", "设备"),
    "device_info": (
        "auto takes a GPU where there is one, else the CPU.",
        "auto：有 GPU 就用 GPU，否则用 CPU。",
    ),
}

TEXTS: dict[str, tuple[str, str]] = {**PICTURES, **PLAN, **ABOUT, **WHY}
