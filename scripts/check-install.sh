#!/bin/bash
# Installs the released agent (.build/fubini-agent) on an emulated Debian machine in the three ways that exist (root with systemd,
# a user with a systemd manager, a user without one and with cron), runs work there, reboots the machine, takes it all away again,
# and checks each step. The federation is `fubini up` on this machine; the emulated one reaches its loopback as 10.0.2.2.
#
# Needs root, network for Debian's packages, and qemu-system-x86_64, debootstrap and mke2fs. Nothing of this machine is changed,
# and everything is removed at the end. Software emulation: a quarter of an hour and more on two busy cores.
#   FUBINI_CHECK_ROOT=DIR    keeps the unpacked Debian there, and uses it the next time
#   FUBINI_DEBIAN_MIRROR=URL where Debian comes from
#   FUBINI_BIN=DIR           where fubini and fubini-controlplane are (.build/debug)
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "${FUBINI_BIN:-.build/debug}")
agent=$(realpath "${FUBINI_AGENT:-.build/fubini-agent}")
for program in qemu-system-x86_64 debootstrap mke2fs; do
  command -v "$program" >/dev/null || PATH=$PATH:/usr/sbin:/sbin
  command -v "$program" >/dev/null || { echo "$program is missing. On Debian: apt-get install qemu-system-x86 debootstrap e2fsprogs" >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "Run it as root: debootstrap unpacks a system." >&2; exit 2; }
work=$(mktemp -d /tmp/fubini-install.XXXXXX)
# PostgreSQL runs as a user of its own, who must pass.
chmod 0711 "$work"
root=${FUBINI_CHECK_ROOT:-$work/root}
qemu=
finish() {
  [ -z "$qemu" ] || { kill "$qemu" 2>/dev/null; wait "$qemu" 2>/dev/null; } || true
  [ ! -d "$work/federation" ] || "$bin/fubini" down --data-dir "$work/federation" >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM
say() { printf '%s  %s\n' "$(date +%T)" "$*"; }
die() { say "FAILED: $*" >&2; [ ! -f "$work/console" ] || tail -n 20 "$work/console" >&2; exit 1; }

make_root() {
  [ ! -e "$root/etc/fubini-check" ] || return 0
  say "unpacking Debian"
  debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,cron,bubblewrap,ca-certificates,iproute2,procps,linux-image-cloud-amd64 \
    bookworm "$root" ${FUBINI_DEBIAN_MIRROR:+"$FUBINI_DEBIAN_MIRROR"} >"$work/debootstrap.log" 2>&1 || die "debootstrap: $(tail -n 5 "$work/debootstrap.log")"
  chroot "$root" useradd -m -s /bin/bash alice
  chroot "$root" useradd -m -s /bin/bash bob
  # Debian's smallest system has no polkit, so only root may let a user linger.
  mkdir -p "$root/var/lib/systemd/linger"
  touch "$root/var/lib/systemd/linger/alice"
  echo guest >"$root/etc/hostname"
  echo "127.0.0.1 localhost guest" >"$root/etc/hosts"
  printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/10-all.network"
  echo virtio_console >"$root/etc/modules-load.d/check.conf"
  # Whoever emulates the machine is its console: commands come in and answers go out through one port.
  cat >"$root/etc/systemd/system/check-shell.service" <<'UNIT'
[Unit]
StartLimitIntervalSec=0
After=cron.service systemd-logind.service
[Service]
Type=idle
ExecStart=/bin/bash -c 'exec 3<>/dev/virtio-ports/check; echo; echo GUEST-READY >&3; exec /bin/bash -s <&3 >&3 2>&1'
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
UNIT
  chroot "$root" systemctl enable systemd-networkd cron check-shell >/dev/null 2>&1
  chroot "$root" systemctl mask systemd-timesyncd systemd-networkd-wait-online apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer >/dev/null 2>&1
  touch "$root/etc/fubini-check"
}

start_guest() {
  install -m 0755 "$agent" "$root/usr/local/bin/fubini-agent"
  mke2fs -q -t ext4 -d "$root" "$work/disk" 3G
  mkfifo "$work/port.in" "$work/port.out"
  exec 8<>"$work/port.in" 9<>"$work/port.out"
  local kernel=("$root"/boot/vmlinuz-*) initrd=("$root"/boot/initrd.img-*)
  nice -n "${FUBINI_CHECK_NICE:-10}" qemu-system-x86_64 -accel tcg -m 2048 -smp 1 -display none -monitor none \
    -kernel "${kernel[0]}" -initrd "${initrd[0]}" -append "root=/dev/vda rw console=ttyS0 quiet" \
    -drive "file=$work/disk,format=raw,if=virtio,cache=unsafe" -netdev user,id=net -device virtio-net-pci,netdev=net \
    -device virtio-serial-pci -chardev "pipe,id=port,path=$work/port" -device virtserialport,chardev=port,name=check \
    -serial "file:$work/console" 8>&- 9>&- >"$work/qemu.log" 2>&1 &
  qemu=$!
}

# Until the machine has started, or started again.
await_guest() {
  local line end=$((SECONDS + 900))
  while ((SECONDS < end)); do
    kill -0 "$qemu" 2>/dev/null || die "the emulator ended: $(cat "$work/qemu.log")"
    if IFS= read -r -t 5 -u 9 line && [ "$line" = GUEST-READY ]; then return; fi
  done
  die "the machine did not start"
}

# guest SCRIPT: runs it as root in the machine, prints what it prints, and returns its exit code.
guest() {
  local line mark="end-$RANDOM$RANDOM" end=$((SECONDS + ${GUEST_TIMEOUT:-300}))
  printf '%s\n' "{ $1
  } </dev/null; echo \"$mark \$?\"" >&8
  while ((SECONDS < end)); do
    IFS= read -r -t 5 -u 9 line || continue
    case $line in
      "$mark "*) return "${line#"$mark "}" ;;
      *) printf '%s\n' "$line" ;;
    esac
  done
  die "no answer in time to: $1"
}
as_user() { printf 'runuser -l %s -c %q' "$1" "$2"; }
# Without a login there is no session, so no manager of the user's: as on a login node without systemd's user managers.
as_bare_user() { printf 'setpriv --reuid %s --regid %s --init-groups env -i HOME=/home/%s USER=%s PATH=/usr/local/bin:/usr/bin:/bin bash -c %q' "$1" "$1" "$1" "$1" "$2"; }

# until_true WHAT SECONDS COMMAND...
until_true() {
  local what=$1 end=$((SECONDS + $2)); shift 2
  until "$@"; do ((SECONDS < end)) || die "$what"; sleep 1; done
}
is_connected() { fubini cluster get "$1" -o json | grep -q '"isConnected" *: *true'; }
is_away() { ! is_connected "$1"; }
fubini() { "$bin/fubini" "$@"; }
document() { # NAME CLUSTER SCRIPT [LIMITS]
  cat <<YAML
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: $1}
spec:
  entrypoint: main
  federation: {clusters: {labels: {place: $2}}}
  templates:
  - name: main
    container: {image: "debian:12", command: [sh, -c], args: ["$3"]${4:-}}
YAML
}
phase() { fubini get "$1" -o json | sed -n 's/.*"phase" *: *"\([A-Za-z]*\)".*/\1/p' | head -n 1; }
has_phase() { case " $2 " in *" $(phase "$1") "*) ;; *) return 1 ;; esac; }
has_ended() { has_phase "$1" "Succeeded Failed Error"; }
runs() { # NAME CLUSTER SCRIPT WANTED-PHASE [LIMITS]
  document "$1" "$2" "$3" "${5:-}" | fubini submit -f - --name-only >/dev/null
  until_true "workflow $1 did not end" 240 has_ended "$1"
  [ "$(phase "$1")" = "$4" ] || die "workflow $1: $(fubini get "$1")"
}

declare_cluster() { # NAME: prints the token
  fubini cluster create "$1" --kind process --labels "place=$1" --print-join-command >"$work/join"
  grep -q -- '--control-plane 10.0.2.2:' "$work/join" || die "the join line does not name 10.0.2.2: $(sed 's/fbj1_[^ ]*/.../' "$work/join")"
  sed -n 's/.*FUBINI_JOIN_TOKEN=\([^ ]*\).*/\1/p' "$work/join"
}

# install_as WAY RUNNER NAME: the three ways differ in who does it.
install_as() {
  local name=$1 token address first second dry
  shift
  token=$(declare_cluster "$name")
  address=$(sed -n 's/.*--control-plane \([^ ]*\).*/\1/p' "$work/join")
  # An agent that is not root serves one project, which its configuration names.
  guest "$("$@" "printf 'controlPlane: [\"%s\"]\nproject: default\n' $address >~/agent.yaml")"
  dry=$(guest "$("$@" "fubini-agent install --dry-run --config ~/agent.yaml")") || die "$name: --dry-run: $dry"
  case $dry in *"join $address"*) ;; *) die "$name: --dry-run does not say that it joins: $dry" ;; esac
  guest "$("$@" 'test ! -e ~/.local/state/fubini-agent/identity')" || die "$name: --dry-run did something"
  first=$(guest "$("$@" "FUBINI_JOIN_TOKEN=$token fubini-agent install --config ~/agent.yaml")") || die "$name: install: $first"
  until_true "$name did not connect" 120 is_connected "$name"
  second=$(guest "$("$@" "fubini-agent install --config ~/agent.yaml")") || die "$name: the second install: $second"
  case $second in *wrote*|*started*|*joined*) die "$name: installing twice changed something: $second" ;; esac
  runs "first-$name" "$name" "echo on \$(hostname)" Succeeded
  say "$name: installed, connected, installed twice without a change, ran a workflow"
}

# A run that ends with 7 while its agent is started again.
survives() { # NAME RESTART
  document "survivor-$1" "$1" "sleep 20; exit 7" | fubini submit -f - --name-only >/dev/null
  until_true "survivor-$1 did not start" 120 has_phase "survivor-$1" Running
  sleep 3
  guest "$2" >/dev/null || die "$1: the agent could not be restarted"
  until_true "survivor-$1 did not end" 240 has_ended "survivor-$1"
  fubini get "survivor-$1" -o json | grep -q '"exitCode" *: *"\{0,1\}7' || die "$1: the exit code was lost: $(fubini get "survivor-$1")"
  say "$1: a run outlived a restart of its agent, and its exit code is the true one"
}
limits() { # NAME: the memory limit kills, and is told
  document "greedy-$1" "$1" "x=\$(yes | head -c 200000000); echo never" ', resources: {limits: {memory: 64Mi}}' | fubini submit -f - --name-only >/dev/null
  until_true "greedy-$1 did not end" 240 has_ended "greedy-$1"
  fubini get "greedy-$1" -o json | grep -q OOMKilled || die "$1: the memory limit is not enforced: $(fubini get "greedy-$1"; fubini cluster get "$1")"
  say "$1: the memory limit is enforced"
}
uninstall_as() { # NAME RUNNER... TRACE
  local name=$1 trace=$2 text
  shift 2
  text=$(guest "$("$@" "fubini-agent uninstall --config ~/agent.yaml --dry-run && fubini-agent uninstall --config ~/agent.yaml")") || die "$name: uninstall: $text"
  until_true "$name is still connected" 120 is_away "$name"
  guest "$("$@" "$trace")" || die "$name: uninstall left something"
  say "$name: uninstalled, nothing is left but the state directory"
}
as_root() { printf '%s' "HOME=/root bash -c $(printf %q "$1")"; }

make_root
say "starting a federation"
"$bin/fubini" up --data-dir "$work/federation" --agents 0 --advertise 10.0.2.2 --detach >"$work/up.log" 2>&1 || die "fubini up: $(cat "$work/up.log")"
. "$work/federation/client.env"
say "starting the machine"
start_guest
await_guest
say "it has started"

install_as system as_root
install_as manager as_user alice
install_as cron as_bare_user bob
survives system "systemctl restart fubini-agent"
survives manager "$(as_user alice 'systemctl --user restart fubini-agent')"
# The keeper starts it again.
survives cron "$(as_bare_user bob 'kill -9 $(sed "s/process \([0-9]*\).*/\1/" ~/.local/state/fubini-agent/agent.lock)')"
limits system
limits manager

say "starting the machine again"
guest "systemctl reboot" >/dev/null || true
await_guest
for name in system manager cron; do
  until_true "$name did not come back after the reboot" 240 is_connected "$name"
  runs "second-$name" "$name" "echo again" Succeeded
done
say "all three came back after a reboot by themselves, and work"

uninstall_as system 'test ! -e /etc/systemd/system/fubini-agent.service && ! systemctl is-active fubini-agent >/dev/null' as_root
uninstall_as manager 'test ! -e ~/.config/systemd/user/fubini-agent.service && ! systemctl --user is-active fubini-agent >/dev/null' as_user alice
uninstall_as cron '! crontab -l 2>/dev/null | grep -q fubini && ! pgrep -u bob -f "fubini-agent (keep|run)"' as_bare_user bob
say "OK"
