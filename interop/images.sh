# Images: what skopeo and umoci write is read here, in every form; what a real registry serves is pulled; what is unpacked is what umoci unpacks.
# Needs skopeo, umoci and docker-registry (Debian's packages); installs them as root with apt where they are missing.

for tool in skopeo umoci docker-registry; do
  if ! command -v "$tool" > /dev/null; then
    [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null || { echo "$tool is not installed"; exit 1; }
    { apt-get install -y --no-install-recommends "$tool" || { apt-get update && apt-get install -y --no-install-recommends "$tool"; }; } > "$WORK/apt.log" 2>&1
  fi
done
export XDG_CACHE_HOME="$WORK/cache" XDG_STATE_HOME="$WORK/state" XDG_CONFIG_HOME="$WORK/config"
"$CARGO" build --quiet -p seaworthy
SEAWORTHY="$TARGET/debug/seaworthy"
cd "$WORK"

# an image by umoci: two layers, the second deletes and replaces
umoci init --layout made
umoci new --image made:app
umoci unpack --rootless --image made:app bundle > /dev/null
mkdir -p bundle/rootfs/app/old bundle/rootfs/bin
printf 'one\n' > bundle/rootfs/app/one
printf 'gone\n' > bundle/rootfs/app/old/gone
ln -s ../app/one bundle/rootfs/bin/link
ln bundle/rootfs/app/one bundle/rootfs/app/second-name
printf '#!/bin/sh\n' > bundle/rootfs/bin/tool
chmod 755 bundle/rootfs/bin/tool
umoci repack --image made:app bundle > /dev/null
rm -r bundle/rootfs/app/old
printf 'two\n' > bundle/rootfs/app/two
umoci repack --refresh-bundle --image made:app bundle > /dev/null
umoci config --image made:app --config.env LAYERS=two --config.entrypoint /bin/tool --config.workingdir /app > /dev/null

digest_of() { "$SEAWORTHY" image show "$1" --json | "$PYTHON" -c 'import json,sys; print(json.load(sys.stdin)["manifest"])'; }
tree_of() { "$SEAWORTHY" image show "$1" --json | "$PYTHON" -c 'import json,sys; print(json.load(sys.stdin)["tree"])'; }

# every form that skopeo writes, gzip and zstd
skopeo --insecure-policy copy --quiet oci:made:app oci:copied:app
skopeo --insecure-policy copy --quiet oci:made:app oci-archive:archive.tar:app
skopeo --insecure-policy copy --quiet oci:made:app docker-archive:saved.tar:app:1
skopeo --insecure-policy copy --quiet --dest-compress-format zstd --dest-force-compress-format oci:made:app oci:zstd:app 2> zstd.log \
  || skopeo --insecure-policy copy --quiet --dest-compress-format zstd oci:made:app oci:zstd:app
for source in made copied archive.tar saved.tar zstd; do
  tag=app; [ "$source" = saved.tar ] && tag=app:1
  "$SEAWORTHY" image add "./$source" --tag "$tag" --name "$source:1" > /dev/null
done
first=$(tree_of made:1)
for source in copied archive.tar saved.tar zstd; do
  [ "$(tree_of "$source:1")" = "$first" ] || { echo "$source unpacks to another tree"; exit 1; }
done
wanted=$(skopeo --override-os linux inspect --raw oci:made:app | sha256sum | cut -d' ' -f1)
[ "$(digest_of made:1)" = "sha256:$wanted" ] || { echo "skopeo names the manifest otherwise"; exit 1; }

# what umoci unpacks is what is unpacked here: names, kinds, bytes, execute bits, links
umoci unpack --rootless --image made:app theirs > /dev/null
list() {
  (cd "$1" && find . -mindepth 1 \( -type d -printf 'd %P\n' -o -type l -printf 'l %P %l\n' -o -type f -perm /111 -printf 'x %P\n' -o -type f -printf 'r %P\n' \) | sort;
   find . -type f -exec sha256sum {} + | sort -k2)
}
for tree in "$XDG_CACHE_HOME"/seaworthy/images/trees/*; do
  diff <(list theirs/rootfs) <(list "$tree") || { echo "umoci unpacks otherwise"; exit 1; }
done
echo "one image in five forms: one tree, the one that umoci unpacks"

# a real registry on loopback, anonymous
port=$("$PYTHON" -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])')
registry() {
  cat > "$1.yml" <<CONFIG
version: 0.1
storage: {filesystem: {rootdirectory: $WORK/registry}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$port"}
$2
CONFIG
  docker-registry serve "$1.yml" > "$1.log" 2>&1 &
  server=$!
  for _ in $(seq 100); do "$PYTHON" -c "import socket; socket.create_connection(('127.0.0.1', $port))" 2> /dev/null && return; sleep 0.1; done
  echo "the registry does not start"; cat "$1.log"; exit 1
}
trap 'kill "$server" 2> /dev/null || true' EXIT
registry open ""
skopeo --insecure-policy copy --quiet --dest-tls-verify=false oci:made:app "docker://127.0.0.1:$port/team/app:1"
"$SEAWORTHY" image add "127.0.0.1:$port/team/app:1" > /dev/null
[ "$(tree_of "127.0.0.1:$port/team/app:1")" = "$first" ] || { echo "the registry's image is another"; exit 1; }
pinned=$(digest_of "127.0.0.1:$port/team/app:1")
"$SEAWORTHY" image add "127.0.0.1:$port/team/app@$pinned" > /dev/null
"$SEAWORTHY" image add "127.0.0.1:$port/team/app@sha256:$(printf 0%.0s $(seq 64))" > /dev/null 2> wrong.log && { echo "a wrong digest was found"; exit 1; }
grep -q image/registry wrong.log
# control: a byte flipped in the registry's own storage is found here
blob=$("$SEAWORTHY" image show "127.0.0.1:$port/team/app:1" --json | "$PYTHON" -c 'import json,sys; print(json.load(sys.stdin)["layers"][0]["digest"][7:])')
"$PYTHON" - "$WORK/registry/docker/registry/v2/blobs/sha256/${blob:0:2}/$blob/data" <<'FLIP'
import sys
data = bytearray(open(sys.argv[1], "rb").read()); data[-9] ^= 1
open(sys.argv[1], "wb").write(data)
FLIP
XDG_CACHE_HOME="$WORK/cache2" "$SEAWORTHY" image add "127.0.0.1:$port/team/app:1" 2> flipped.log && { echo "a flipped byte was not found"; exit 1; }
grep -q image/digest flipped.log
kill "$server"; wait "$server" 2> /dev/null || true

# the same with a password: refused without, pulled with a private file, refused with one that others may read
command -v htpasswd > /dev/null && htpasswd -Bbn user secret > users || printf 'user:%s\n' "$("$PYTHON" - <<'HASH'
try:
    import bcrypt
    print(bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode())
except ImportError:
    import ctypes, ctypes.util
    crypt = ctypes.CDLL(ctypes.util.find_library("crypt") or "libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    print(crypt(b"secret", b"$2b$04$abcdefghijklmnopqrstuu").decode())
HASH
)" > users
rm -r registry; port=$("$PYTHON" -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])')
registry closed "auth: {htpasswd: {realm: here, path: $WORK/users}}"
skopeo --insecure-policy copy --quiet --dest-tls-verify=false --dest-creds user:secret oci:made:app "docker://127.0.0.1:$port/team/app:1"
export XDG_CACHE_HOME="$WORK/cache3"
"$SEAWORTHY" image add "127.0.0.1:$port/team/app:1" 2> closed.log && { echo "pulled without a password"; exit 1; }
grep -q "wants credentials" closed.log
printf '{"127.0.0.1:%s": {"username": "user", "password": "secret"}}' "$port" > credentials.json
chmod 644 credentials.json
"$SEAWORTHY" image add "127.0.0.1:$port/team/app:1" --credentials ./credentials.json 2> open.log && { echo "a file that all may read was taken"; exit 1; }
grep -q "others may read it" open.log
chmod 600 credentials.json
"$SEAWORTHY" image add "127.0.0.1:$port/team/app:1" --credentials ./credentials.json > /dev/null
# what skopeo wrote when it logged in will do too
skopeo login --tls-verify=false --authfile ./login.json -u user -p secret "127.0.0.1:$port" > /dev/null
chmod 600 login.json
XDG_CACHE_HOME="$WORK/cache4" "$SEAWORTHY" image add "127.0.0.1:$port/team/app:1" --credentials ./login.json > /dev/null
echo "pulled from docker-registry, with and without a password"
