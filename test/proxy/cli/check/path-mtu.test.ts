/** The MTU on the way to a gateway: whole, told by a router, and a path that drops large packets without a word. */
import { execFileSync, spawnSync } from 'node:child_process'
import t from 'tap'

/** Two namespaces with a router between, whose link to the gateway has another MTU. Ends with the test's process. */
const script = (drop: string) => `
set -e
ip link set lo up
for ns in router gateway; do unshare -n sleep 60 & eval $ns=$!; done
trap 'kill $router $gateway' EXIT
for i in 1 2 3 4 5 6 7 8 9; do
  [ "$(readlink /proc/$router/ns/net)" != "$(readlink /proc/self/ns/net)" ] && [ "$(readlink /proc/$gateway/ns/net)" != "$(readlink /proc/self/ns/net)" ] && break
  sleep 0.1
done
ip link add here type veth peer name near netns $router
ip link add far netns $router type veth peer name there netns $gateway
inside() { nsenter -t $1 -n -- sh -c "$2"; }
ip addr add 10.77.1.1/24 dev here; ip link set here up; ip route add 10.77.2.0/24 via 10.77.1.2
inside $router "ip link set lo up; ip addr add 10.77.1.2/24 dev near; ip addr add 10.77.2.1/24 dev far; ip link set near up; ip link set far up; echo 1 > /proc/sys/net/ipv4/ip_forward"
inside $gateway "ip link set lo up; ip addr add 10.77.2.2/24 dev there; ip link set there up; ip route add default via 10.77.2.1; echo 0 > /proc/sys/net/ipv4/icmp_ratelimit; echo 100000 > /proc/sys/net/ipv4/icmp_msgs_per_sec"
${drop}
node -e 'import("./proxy/runtime/checks/path-mtu.ts").then(async ({ checkPathMtu }) => {
  const { findingsAt } = await import("./proxy/runtime/checks/finding.ts")
  console.log(JSON.stringify(await checkPathMtu(findingsAt("cluster-2"), "10.77.2.2:15008", "10.77.2.2")))
})'
`

const silent =
  'inside $router "nft add table inet t; nft add chain inet t f \'{ type filter hook forward priority 0; }\'; nft add rule inet t f meta length gt 1300 drop"'
const can = spawnSync('unshare', ['-n', 'ip', 'link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1']).status === 0
const skip = can ? false : 'this user may not make network namespaces with devices'
const canFilter = spawnSync('unshare', ['-n', 'nft', 'add', 'table', 'inet', 't']).status === 0

function find(drop: string) {
  const out = execFileSync('unshare', ['-n', 'sh', '-c', script(drop)], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  return JSON.parse(out.trim().split('\n').at(-1) ?? '')
}

t.test('whole packets', { skip }, async t => {
  t.match(find(''), { state: 'good', found: 'packets of 1500 bytes reach 10.77.2.2:15008' })
})

t.test('a router that says so', { skip }, async t => {
  t.match(find('inside $router "ip link set far mtu 1400"'), {
    state: 'warning',
    found: /may have 1400 bytes, and here sends 1500/,
    remedy: /^ip link set here mtu 1400/,
  })
})

t.test('a path that drops them', { skip: skip || (canFilter ? false : 'no nft') }, async t => {
  const { state, found, remedy } = find(silent)
  t.equal(state, 'error')
  const [, bytes] = /packets of more than (\d+) bytes do not reach/.exec(found) ?? []
  t.ok(Number(bytes) > 1285 && Number(bytes) <= 1300, found)
  t.match(remedy, /ICMP "fragmentation needed"/)
})
