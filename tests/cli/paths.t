#!/bin/bash
# Where the tools find what ships with them: beside their own folder (wherever that is), in $SKY_DATA, nowhere else here.
set -u
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
end
