# SPDX-License-Identifier: GPL-2.0-or-later
# "make demo" ends well on a Debian 12 with nothing but the base system and make. (For "make check" there:
# scripts/in-fresh-debian check.)
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
cd "$TMPDIR"
code=0
"$source/scripts/in-fresh-debian" demo >said 2>&1 || code=$?
[ $code != 0 ] || [ "$(grep -c '^Images are identical' said)" = 3 ] || code=1
[ $code = 0 ] || tail -n 40 said
exit $code
