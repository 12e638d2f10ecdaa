"""One command a file: its options and their words; imported only when it is run or its help is shown.

What needs an extra of its own is imported inside the function.
"""
