# For the install scripts of counterparts that come from PyPI.

# python_environment NAME REQUIREMENTS MAJOR MINOR: makes a virtual environment of a Python that new, unless it is there already, and prints where.
# Its name has the digest of the requirements: a change of them makes another one.
python_environment() {
  directory=${DEKD_COUNTERPARTS:-${XDG_CACHE_HOME:-$HOME/.cache}/dekd/counterparts}/$1-$(sha256sum "$2" | cut -c 1-12)
  if [ ! -e "$directory/installed" ]; then
    python=$(newer_python "$3" "$4") || {
      echo "$1: no Python $3.$4 or newer found; put one on the PATH, or name it in DEKD_TEST_PYTHON" >&2
      return 1
    }
    rm -rf "$directory"
    "$python" -m venv "$directory" >&2
    "$directory/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$2" >&2
    touch "$directory/installed"
  fi
  echo "$directory"
}

newer_python() {
  for python in "${DEKD_TEST_PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 python3.10 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3; do
    [ -n "$python" ] || continue
    # A name that a version manager only pretends to have fails here.
    "$python" -c "import sys; sys.exit(sys.version_info < ($1, $2))" 2>/dev/null || continue
    echo "$python"
    return 0
  done
  return 1
}
