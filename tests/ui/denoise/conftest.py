"""Fixtures of the Denoise tab's tests; `tests.helpers.denoising` says what each is."""

from tests.helpers import denoising

told_models = denoising.told_models
quick_looks = denoising.quick_looks
grown_tree = denoising.grown_tree
