"""From a recipe to pictures and films: pipeline, records, registry, film, export, save, player/.

The command line and the page both call it, so no page is known here.
"""
