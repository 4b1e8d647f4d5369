"""Local files: reached without following links, told apart, removed safely.

Standard library only, and the few system calls that it lacks.
"""
