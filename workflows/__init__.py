"""Shop events in, checked events, point-in-time examples and NVTabular features out."""

from cartwheel.merlin_compat import prepare

prepare()  # before anything of Merlin is imported, wherever that is
