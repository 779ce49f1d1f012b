"""What the coach can say: one sentence or two per kind, in English; the page has the Chinese."""

from dataclasses import dataclass, field
from typing import Any

from sd.common.text import fill

MESSAGES = {
    "not_finite": "Training ended at step {step}: the loss was no number any more, several times "
    "in a row. The checkpoint of step {saved} is whole. The learning rate {rate} is too high: "
    "start again with {better}.",
    "not_finite_unsaved": "Training ended at step {step}: the loss was no number any more, several "
    "times in a row, before there was a checkpoint. The learning rate {rate} is too high: start "
    "again with {better}.",
    "skipped": "The loss was not a number at step {step}; that step was left out and the weights "
    "stayed as they were. Once does no harm.",
    "skipped_often": "{count} steps, the last at {step}, gave no finite number and were left out. "
    "The learning rate {rate} is too high: start again with {better}.",
    "explodes": "The loss has jumped from {low} to {now} by step {step}: the steps are too large "
    "and undo what was learned. Stop, and start again with learning rate {better} instead of "
    "{rate}.",
    "stuck_high": "The loss has not fallen in {step} steps ({first} at first, {now} now): the "
    "learning rate {rate} is too high. Start again with {better}.",
    "stuck_low": "The loss has not fallen in {step} steps ({first} at first, {now} now): the "
    "learning rate {rate} is too low. Start again with {better}.",
    "copies": "{copies} of {count} samples at step {step} nearly copy a training picture: they "
    "are nearer than {low}, which of pictures that are no copies only 5% are. Train for fewer "
    "steps, or on more pictures.",
    "memorises": "Since step {since} the loss on held-out pictures rises ({low} to {now}) while "
    "it falls in training: the network learns its {pictures:one picture|{pictures} pictures} by "
    "heart. Train for about {since} steps only, on more pictures, or with small shifts and "
    "dropout.",
    "terminal_snr": "The noise ends at a signal-to-noise ratio of {snr}, above {limit}: training "
    "never sees pure noise, yet sampling starts from it, so samples come out grey or wrongly lit. "
    "Mend the schedule before you train.",
    "terminal_snr_run": "Grey or wrongly lit samples come from the schedule: its noise ends at a "
    "signal-to-noise ratio of {snr}, above {limit}, and training never sees the pure noise from "
    "which sampling starts. More steps do not help: mend the schedule and start again.",
    "few_steps": "{steps} {steps:step is|steps are} not enough ({passes} {passes:pass|passes} "
    "over {pictures} {pictures:picture|pictures}, {batch} at a time): a network first learns how "
    "noise looks, and shapes come after about {shapes} steps. Train for {better}.",
    "few_minutes": "{minutes} {minutes:minute is|minutes are} about {steps} {steps:step|steps} at "
    "this speed; shapes come after about {shapes}. Give it {better} {better:minute|minutes}, or "
    "train a smaller network.",
    "ema_young": "At step {step} the averaged (EMA) weights reach back over {length} steps, to "
    "when the network knew clearly less. Look at the raw samples until about step {until}.",
    "noise_yet": "At step {step} samples are still noise and blobs, as they must be: shapes come "
    "after about {shapes} steps. Let it run.",
    "still_falling": "The loss was still falling at the end, by {percent}% over the last quarter, "
    "to {now}. Train about {more} steps more.",
    "levelled": "The loss has levelled off at {now}: the last quarter took off only {percent}%. "
    "More steps will change little; more pictures or a wider network will.",
    "duplicates": "{duplicates} of {pictures} pictures {duplicates:repeats another|repeat others} "
    "exactly: {duplicates:it counts double and is|they count double and are} learned by heart "
    "first. Remove {duplicates:it|them} if that is not meant.",
    "few_pictures": "{pictures} {pictures:picture is|pictures are} few: trained long enough, the "
    "network repeats them rather than invents. Add pictures, or train for fewer steps.",
    "same_captions": "All {captions} captions say the same, so no word can come to mean anything. "
    "Give each picture words of its own, or tell the model something else.",
    "few_of_class": "{names}: of a class with fewer than {few} pictures the model learns hardly "
    "more than these; asked for it, it comes close to copies. Add some, or leave the class out.",
    "leak": "{settings}: changes this strong are learned too, and samples come out shifted, "
    "turned or wrongly lit. Keep them mild.",
    "first_stage_limits": "The pictures come back from the autoencoder at {psnr} dB before any "
    "diffusion (beyond {good} little is lost to the eye): what is fine in them is lost there, and "
    "no training of the network brings it back. Let its decoder be tuned to the pictures, or take "
    "larger ones.",
    "first_stage_limits_own": "The pictures come back from the autoencoder at {psnr} dB before any "
    "diffusion (beyond {good} little is lost to the eye): what is fine in them is lost there, and "
    "no training of the network brings it back. Train the autoencoder for {better} steps.",
    "untuned": "The pictures go through {name}, which never saw any of them. Its decoder can be "
    "tuned to them first: {steps} steps, about half a minute; emoji of 128 pixels came back 1.1 dB "
    "closer. What the network learns from stays the same.",
    "untuned_run": "This run draws with {name}'s decoder as it came. Tuned to the pictures for "
    "{steps} steps (about half a minute; emoji of 128 pixels came back 1.1 dB closer) it draws "
    "finer; the network goes on from where it is, as a new run.",
    "flip": "Pictures are mirrored half of the time, so samples may be mirrored too. Turn it off "
    "for letters, numbers and whatever has a left and a right.",
    "grey": "The pictures have colour, but unet.channel = 1 turns them grey. Set it to 3.",
    "rate_high": "A learning rate of {rate} often makes the loss explode. Begin with {better}.",
    "no_held_out": "No picture is held out, so no curve can show whether the network learns or "
    "memorises. Hold out 5%.",
    "only_end": "Samples and checkpoints come only after all {steps} steps: nothing to see on the "
    "way, and a power cut costs everything. Make them every {every} steps.",
    "ema_long": "ema_decay = {decay} would average {length} steps, but this run has {steps}: the "
    "average will reach back a ninth of the steps done, which {better} says plainly.",
    "falls": "It learns: the loss fell from {first} to {now} in {step} steps.",
    "well": "Nothing needs mending: the loss fell from {first} to {now} in {step} steps.",
}


GOOD = ("well", "falls", "noise_yet")  # kinds that are good news


@dataclass(frozen=True)
class Remark:
    """One thing to tell: its kind, the figures in its sentence, and the settings that mend it.

    `fix`: texts "section.key=value" for `Config.with_settings`, in a new run; () where none can.
    """

    kind: str
    values: dict[str, Any] = field(default_factory=dict)
    fix: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The key of its sentence in the page's tables."""
        return f"coach_{self.kind}"

    @property
    def line(self) -> str:
        """Its sentence in English."""
        return fill(MESSAGES[self.kind], self.values)


def figure(value: float) -> str:
    """Return a measured number as sentences show it."""
    return f"{value:.3g}"


def rounded(value: float) -> int:
    """Return a count with two leading digits."""
    return int(float(f"{value:.2g}"))
