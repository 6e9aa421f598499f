#!/bin/bash
# Where the tools find what ships with them: beside their own folder (wherever that is), in $SKY_DATA, nowhere else here.
. "$(dirname "$0")/t.sh"
mkdir -p "$T/opt/bin" "$T/data"
cp "$B/bin/sky-ingest" "$T/opt/bin"
"$T/opt/bin/sky-ingest" -d flood3i -l tests/data/flood3i >"$T/out" 2>"$T/err"
[ $? = 2 ] && grep -q "no dataset named 'flood3i'.*share/skysense/datasets beside the program" "$T/err"
ok $? "a program alone finds nothing and says where it looked"
cp -RL "$B/share" "$T/opt/share"
"$T/opt/bin/sky-ingest" -d flood3i -l tests/data/flood3i >"$T/out" 2>"$T/err" && [ "$(wc -l <"$T/out")" = 5 ]
ok $? "with share beside its folder it works anywhere"
"$T/opt/bin/sky-ingest" -d nope -l tests/data/flood3i >"$T/out" 2>"$T/err"
[ $? = 2 ] && grep -q "no dataset named 'nope'; there are: amazon, .*flood3i, .*toulouse$" "$T/err"
ok $? "another name: the names there are"
mkdir "$T/data/datasets"
sed 's/^dataset: .*/dataset: mine/' "$T/opt/share/skysense/datasets/flood3i.yaml" >"$T/data/datasets/flood3i.yaml"
SKY_DATA=$T/data "$T/opt/bin/sky-ingest" -d flood3i -l --json tests/data/flood3i >"$T/out" 2>"$T/err" && grep -q '"dataset":"mine"' "$T/out"
ok $? "SKY_DATA goes first"

# A folder with a space in its name is one folder.
mkdir -p "$T/a" "$T/a b/usr/share/skysense" "$T/a b/usr/bin"
touch "$T/a/kept" "$T/a b/usr/bin/sky-pack" "$T/a b/usr/bin/other"
env -u MAKEFLAGS -u MAKELEVEL make -s uninstall BUILD="$T/build" DESTDIR="$T/a b" PREFIX=/usr >"$T/out" 2>"$T/err" &&
    [ -e "$T/a/kept" ] && [ -e "$T/a b/usr/bin/other" ] && [ ! -e "$T/a b/usr/bin/sky-pack" ] && [ ! -e "$T/a b/usr/share/skysense" ]
ok $? "make uninstall removes what make install put there, and nothing else"
end
