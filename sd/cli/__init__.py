"""The command line: parser, commands, and the sample command.

What computes lives below; here words become arguments.
"""
