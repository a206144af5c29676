"""The front door of Cartwheel: command line, configuration, run directory and errors."""

__version__ = "0.3.0"
