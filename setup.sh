#!/bin/sh
# Install Mixing Buddy, editable, with the pinned versions of constraints.txt, into .venv beside
# this file. It can be run again at any time: what is there already stays.
#
#   sh setup.sh          to get advice on mixes
#   sh setup.sh test     with what an extra of pyproject.toml adds; several may be given
set -eu

say() { printf 'setup.sh: %s\n' "$*"; }
fail() {
    printf 'setup.sh: error: %s\n' "$*" >&2
    exit 1
}

# The oldest Python that pyproject.toml allows.
recent_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    for candidate in python3 python3.13 python3.12 python3.11; do
        if recent_enough "$candidate"; then
            python=$candidate
            return
        fi
    done
    fail "Python 3.11 or later is needed, and python3 here is" \
        "$(python3 -V 2>/dev/null || echo missing): install it, then run this again."
}

# Debian and Ubuntu split what `python3 -m venv` needs off into a package of its own.
ensure_venv_module() {
    "$python" -c 'import ensurepip, venv' 2>/dev/null && return
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    command -v apt-get >/dev/null ||
        fail "$python lacks the modules venv and ensurepip: install them, then run this again."
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            fail "$python lacks the module venv: ask root to run: apt-get install $package"
        as_root=sudo
    fi
    say "installing the system package $package"
    # Old package lists may do, and a foreign source that is down must not stop us.
    $as_root apt-get update -qq || say "apt-get update failed; going on with the old lists"
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" >/dev/null ||
        fail "apt-get could not install $package: see its message above."
}

pip_install() {
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "$@"
}

CDPATH='' cd -- "$(dirname -- "$0")"

# Interrupted installations and upgrades of the system's Python leave a folder that cannot be used.
if recent_enough .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; then
    say "using the environment .venv that is there"
else
    find_python
    ensure_venv_module
    say "creating the environment .venv with $("$python" -V)"
    "$python" -m venv --clear .venv || fail "could not create .venv in $(pwd): see above."
fi

extras=
for extra; do
    # pip only warns of an extra that does not exist.
    .venv/bin/python - "$extra" <<'END' || fail "unknown extra '$extra': see pyproject.toml"
import sys, tomllib
with open("pyproject.toml", "rb") as file:
    sys.exit(sys.argv[1] not in tomllib.load(file)["project"]["optional-dependencies"])
END
    extras=${extras:+$extras,}$extra
done

say "installing mixing-buddy${extras:+[$extras]} and its libraries (the first time about 6 GB on disk)"
# The build backend comes from the constraints too: with build isolation, pip would fetch the
# newest one, pinned or not, and need the network each time.
pip_install "setuptools>=77" && pip_install --no-build-isolation -e ".${extras:+[$extras]}" ||
    fail "pip could not install mixing-buddy${extras:+[$extras]}: see its message above."

# tinysoundfont declares pyaudio, which has no wheel for Linux (building it needs PortAudio's
# headers) and which it imports only to play sound: so no extra of pyproject.toml can name it, and
# pip must not follow what it declares. Itself it has wheels for Python 3.11 and 3.12 only.
no_player="pip could not install tinysoundfont: see its message above (for Python 3.13 and later it \
is compiled, which needs a C++ compiler)"
case ,$extras, in
*,songs,*) pip_install --no-deps tinysoundfont || fail "$no_player" ;;
*,test,*)
    pip_install --no-deps tinysoundfont ||
        say "warning: $no_player; tests of sampled instruments will be skipped"
    ;;
esac

say "done: try .venv/bin/mixing-buddy --help"
