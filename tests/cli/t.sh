# t.sh -- what the command-line tests share: TAP output, a folder T of their own, and where the build is, B. Source it: . "$(dirname "$0")/t.sh"
# A test ends with `end`. Commands put their messages into $T/err, or what else `shown` lists: shown when a check fails.
set -u # a name that a test does not set is a mistake, not an empty word
B=$(cd "${BUILD:-build}" && pwd) || exit 1
T=$(mktemp -d) && T=$(cd "$T" && pwd) || exit 1
trap 'rm -rf "$T"' EXIT
n=0 bad=0 shown=("$T/err")
ok() { # ok STATUS-OF-TEST NAME
    n=$((n + 1))
    if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; bad=1; cat "${shown[@]}" 2>/dev/null | tail -20 | sed 's/^/# /'; fi
}
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; } # skip NAME WHY
skip_all() { echo "1..0 # SKIP $1"; exit 0; } # skip_all WHY: before the first check
same() { [ "$1" = "$2" ]; local rc=$?; [ $rc = 0 ] || printf '# %s\n# %s\n' "$1" "$2"; ok $rc "$3"; } # same GOT WANTED NAME
# run STATUS STDERR-PATTERN NAME ARGS...: the command in `tool` with ARGS: exit status and message as wanted ("": nothing is
# said); standard output is in $T/out.
run() {
    local want=$1 pattern=$2 name=$3 got
    shift 3
    "${tool[@]}" "$@" >"$T/out" 2>"$T/err" </dev/null
    got=$?
    [ "$got" = "$want" ] && { [ -z "$pattern" ] && [ ! -s "$T/err" ] || { [ -n "$pattern" ] && grep -q -- "$pattern" "$T/err"; }; }
    local rc=$?
    [ $rc = 0 ] || echo "# status $got, wanted $want, message like '$pattern'"
    ok $rc "$name"
}
end() { echo "1..$n"; exit $bad; }
