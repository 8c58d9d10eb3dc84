"""The error of the converter."""


class ConversionError(ValueError):
    """A source that cannot be converted; the message says what was found and what to do."""
