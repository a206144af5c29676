"""Characters around a value that are not part of it: blanks of any script, and invisible characters.

Byte order marks end up before the first id of a file that was put together from several, and marks of direction or zero width come along
with what was copied from a page. A module of its own, for the server reads it where Polars is not installed.
"""

from __future__ import annotations

from typing import Final

_SPACES: Final = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
_LINES: Final = "\u2028\u2029\u202f\u205f\u3000"
_UNSEEN: Final = (
    "\xad\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068"
)
BLANKS: Final = _SPACES + _LINES + _UNSEEN + "\u2069\ufeff"
"""Characters that are trimmed from both ends of a cell."""
