"""Everything that reaches into gradio beyond its public interface, each with its reason.

No tab is known here.
"""
