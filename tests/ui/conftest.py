"""Fixtures of the page's tests; the helpers say what each is."""

from tests.helpers import denoising

little_model = denoising.little_model
