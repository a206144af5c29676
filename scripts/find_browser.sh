#!/bin/sh
# Succeeds if there is a Chromium for the test that opens the report: one that is here, else one of the system's packages where we may
# install them, else the one that Playwright fetches. Each try ends by itself, however slow the network.
set -u
patience=300

has_browser() {
    for name in chromium chromium-browser google-chrome google-chrome-stable chrome; do
        command -v "$name" && return 0
    done
    return 1
}

install_package() {
    [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null || return 1
    DEBIAN_FRONTEND=noninteractive timeout "$patience" apt-get install -y -q --no-install-recommends chromium && return 0
    timeout "$patience" apt-get update -q || return 1
    DEBIAN_FRONTEND=noninteractive timeout "$patience" apt-get install -y -q --no-install-recommends chromium
}

[ -n "${CARTWHEEL_BROWSER:-}" ] && exit 0
has_browser && exit 0
{ install_package && has_browser; } < /dev/null 1>&2 && exit 0
timeout "$patience" .venv/bin/playwright install chromium < /dev/null 1>&2
