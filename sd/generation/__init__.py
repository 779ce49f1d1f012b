"""From a recipe to pictures and films: pipeline, records, registry, film, export, save, player/.

No gradio: the command line and the page both call it.
"""
