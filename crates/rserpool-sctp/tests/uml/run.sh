#!/bin/bash
# run.sh COMMAND [ARGUMENT..]: runs a command under a kernel that has SCTP, on a machine whose own has
# none, and exits with the command's code. Debian's User-Mode Linux is an ordinary process that boots in
# about two seconds on the host's own files, with network namespaces, veth and netem of its own.
#
# As cargo's runner it takes whole test suites there:
#   CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$PWD/tests/uml/run.sh cargo test --test kernel
#
# UML_TIMEOUT: seconds until the machine is stopped (120). UML_MEMORY: its memory (512M).
# UML_CPU: a core to pin it to, for steady measurements.
set -eu
if ! command -v linux.uml >/dev/null || ! command -v ip >/dev/null; then
  echo "missing; install with: apt-get install -y --no-install-recommends user-mode-linux iproute2 kmod" >&2
  exit 2
fi
# The kernel of the package and its modules, where modprobe looks for them.
version=$(ls /usr/lib/uml/modules)
if [ ! -e "/lib/modules/$version/modules.dep" ]; then
  mkdir -p /lib/modules
  ln -sfn "/usr/lib/uml/modules/$version" "/lib/modules/$version"
  depmod "$version"
fi

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
# Process 1 of the machine. /run is its own, so that namespaces by name stay inside.
cat >"$room/init" <<INIT
#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SCTP_REQUIRED=1
mount -t proc proc /proc; mount -t sysfs sys /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
ln -sf /proc/self/fd /dev/fd
mount -t tmpfs tmpfs /run; mkdir -p /run/netns
modprobe -a -q sctp hmac md5 sha1_generic veth
ip link set lo up
cd $(printf %q "$PWD")
$(printf '%q ' "$@")
echo \$? >$room/code
sync; poweroff -f
INIT
chmod +x "$room/init"

code=0
${UML_CPU:+taskset -c "$UML_CPU"} timeout -k 5 "${UML_TIMEOUT:-120}" linux.uml \
  mem="${UML_MEMORY:-512M}" rootfstype=hostfs rootflags=/ rw init="$room/init" quiet \
  con=null con0=fd:0,fd:1 umid="sctp-$$" uml_dir="$room/" </dev/null || code=$?
if [ ! -s "$room/code" ]; then
  echo "the machine ended without a result (its own code: $code)" >&2
  exit 3
fi
exit "$(cat "$room/code")"
