"""From a recipe to pictures and films: pipeline, registry of models, export, player/.

No gradio: the command line and the page both call it.
"""
