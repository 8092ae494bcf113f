/**
 * Returns the text of the image's `restore` program: `./img/restore ARG...` restores the image beside it with these
 * arguments. It prefers the forkpoint it was made by and falls back to the one on PATH. `library` is FORKPOINT_LIB.
 */
export function restoreScript(library: string): string {
  const quoted = `'${library.replaceAll("'", String.raw`'\''`)}'`;
  return `#!/bin/sh
# Restores the image in this directory: restore [ARG...]
image=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd) || exit 125
command=${quoted}/bin/forkpoint
[ -x "$command" ] || command=forkpoint
exec "$command" restore "$image" -- "$@"
`;
}
