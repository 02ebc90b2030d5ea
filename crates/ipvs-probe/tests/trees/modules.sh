#!/bin/sh
# What a tree needs of a kernel's package: `modules.sh FOLDER`, where FOLDER is what `dpkg-deb -x` made of it. Prints the lines of
# modules.dep and modules.builtin for the modules that rules ask for.
set -e
folder=$(cd "$1" && ls -d lib/modules/* usr/lib/modules/* 2>/dev/null | head -n 1)
release=$(basename "$folder")
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
mkdir -p "$made/lib/modules"
cp -r "$1/$folder" "$made/lib/modules/"
depmod -b "$made" "$release" 2>/dev/null
names='ip_vs(_[a-z]+)?|ip_set(_hash_ip(port(ip|net)?)?|_bitmap_port)?|nf_conntrack|nf_tables|nft_(compat|chain_nat|ct|fib(_ipv[46])?|masq|reject(_ipv[46])?)'
names="$names|xt_(set|addrtype|comment|conntrack|mark|MASQUERADE|physdev|ipvs)|ip6?t_REJECT|ip6?_tables|ip6?table_(nat|filter)|br_netfilter|dummy"
for list in modules.dep modules.builtin; do
    echo "=== /$folder/$list"
    grep -E "^[^:]*/($names)\.ko(\.[a-z]+)?(:|$)" "$made/lib/modules/$release/$list" || true
done
