"""The tools of the Denoise tab, one module each; the bar that opens them is `bar`."""
