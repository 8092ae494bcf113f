#!/bin/sh
# Restores a program with plain CRIU; pid 1 of namespaces that stock.mjs makes with unshare(1).
# Usage: stock.sh CONTROL_DIRECTORY WHERE_THE_PROGRAM_HAS_IT FIFO LINE CRIU ARGUMENT...
set -eu
mount --bind "$1" "$2"
# Who was blocked at the checkpoint waits at a FIFO for one line; a program without the library does not.
[ "$3" = - ] || { (printf '%s\n' "$4" > "$2/$3") & }
shift 4
exec "$@"
