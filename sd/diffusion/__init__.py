"""The mathematics: schedule, forward process, loss, time steps, samplers, guidance, closed forms.

A denoiser is a callable here; no network is known.
"""
