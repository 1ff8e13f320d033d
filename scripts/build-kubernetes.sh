#!/bin/bash
# Builds kube-apiserver and kube-controller-manager from Debian's source package, and brings etcd, into a cache outside the
# repository: what `make test-kubernetes` runs against. Says what it does; does nothing when the cache is there.
#
# Debian packages no API server, but the whole source, with everything that it needs to be built. Go, etcd and the source are
# fetched with lists of apt's own in a temporary directory: nothing of that is installed, no service is started, and the
# machine's apt sources stay as they are. About ten minutes on two cores, 3 GiB of temporary space, 250 MiB of cache.
#
# FUBINI_KUBERNETES_CACHE  where to put it (~/.cache/fubini/kubernetes)
# FUBINI_DEBIAN_MIRROR     where to fetch from (http://deb.debian.org/debian)
# GOFLAGS                  for Go's compiler; -p=1 leaves the other cores alone
set -euo pipefail
cd "$(dirname "$0")/.."

# Debian 12 has Kubernetes 1.20.2 with all that it is built from; later releases have it without, and fewer of its programs.
suite=bookworm
mirror=${FUBINI_DEBIAN_MIRROR:-http://deb.debian.org/debian}
cache=${FUBINI_KUBERNETES_CACHE:-${HOME:-/tmp}/.cache/fubini/kubernetes}
programs="kube-apiserver kube-controller-manager etcd"

complete() {
  for program in $programs; do [ -x "$cache/$program" ] || return 1; done
}
if complete; then
  echo "Kubernetes is there: $cache"
  exit 0
fi

scripts/install-prerequisites.sh rsync gcc make dpkg-dev
mkdir -p "$(dirname "$cache")"
# One at a time; who waited finds it done.
exec 9>"$cache.lock"
flock 9
if complete; then
  echo "Kubernetes is there: $cache"
  exit 0
fi

work=$(mktemp -d "$(dirname "$cache")/kubernetes-build.XXXXXX")
# Go makes the directories of its cache read-only.
trap 'chmod -R u+w "$work" 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

echo "Fetching the source of Kubernetes 1.20.2, Go 1.19 and etcd from $mirror"
mkdir -p "$work"/{lists/partial,archives/partial,source,root,programs}
: >"$work/status"
signed="[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
printf 'deb %s %s %s main\ndeb-src %s %s %s main\n' "$signed" "$mirror" "$suite" "$signed" "$mirror" "$suite" \
  >"$work/sources.list"
apt=(apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
  -o Dir::State::Lists="$work/lists" -o Dir::State::status="$work/status" -o Dir::Cache="$work" -o APT::Sandbox::User=root
  -o Acquire::Retries=3)
"${apt[@]}" update
(cd "$work/source" && "${apt[@]}" source --download-only kubernetes)
(cd "$work/archives" && "${apt[@]}" download golang-1.19-go golang-1.19-src etcd-server)
for package in "$work"/archives/*.deb; do dpkg-deb --extract "$package" "$work/root"; done
dpkg-source --no-check --extract "$work"/source/*.dsc "$work/tree" >/dev/null

# Kubernetes 1.20 is of the time of Go 1.15. Its copy of reflect2 calls Go's map iterator by a signature that Go 1.18 has changed,
# and the API server would crash at some of its answers. The iterator is now the third argument, with the layout of Go 1.19
# (runtime/map.go, hiter).
reflect2=$work/tree/vendor/github.com/modern-go/reflect2
sed -i -e 's/^\(func mapiterinit(.*\)) \*hiter$/\1, it *hiter)/' \
  -e 's/^\t\/\/ rest fields are ignored$/\tt, h, buckets, bptr unsafe.Pointer\n\toverflow, oldoverflow *[]unsafe.Pointer\n\tstartBucket uintptr\n\toffset uint8\n\twrapped bool\n\tb, i uint8\n\tbucket, checkBucket uintptr/' \
  "$reflect2/unsafe_link.go"
sed -i -e 's/^\treturn &UnsafeMapIterator{$/\tit := new(hiter)\n\tmapiterinit(type2.rtype, *(*unsafe.Pointer)(obj), it)\n&/' \
  -e 's/mapiterinit(type2.rtype, \*(\*unsafe.Pointer)(obj)),$/it,/' "$reflect2/unsafe_map.go"

echo "Building (this takes ten minutes and more)"
export GOROOT=$work/root/usr/lib/go-1.19 GOPATH=$work/tree/.go GOCACHE=$work/go-cache GOTMPDIR=$work CGO_ENABLED=0
export GO111MODULE=off GOTOOLCHAIN=local GOPROXY=off HOME=$work PATH=$work/root/usr/lib/go-1.19/bin:$PATH
mkdir -p "$GOPATH/src/k8s.io"
ln -s "$work/tree" "$GOPATH/src/k8s.io/kubernetes"
for program in kube-apiserver kube-controller-manager; do
  if ! make -C "$GOPATH/src/k8s.io/kubernetes" WHAT="cmd/$program" >"$work/$program.log" 2>&1; then
    tail -n 40 "$work/$program.log" >&2
    echo "$program could not be built." >&2
    exit 1
  fi
  found=$(find "$work/tree/_output" -type f -name "$program" -perm -u+x | head -n 1)
  [ -n "$found" ] || { tail -n 40 "$work/$program.log" >&2; echo "$program is not where it was to be built." >&2; exit 1; }
  cp "$found" "$work/programs/"
  echo "Built $program"
done
cp "$work/root/usr/bin/etcd" "$work/programs/"

# A part that was left by something else than this script gives way to the whole.
rm -rf "$cache"
mv "$work/programs" "$cache"
echo "Kubernetes is there: $cache"
