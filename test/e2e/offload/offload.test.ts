/** Clients that the kernel leads to a whole Starlane, on this machine's kernel: who is reached, from the start through a crash to the end. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { findAddon } from '../../../proxy/dataplane/native/addon.ts'
import { whyNoSteering } from '../../../proxy/dataplane/steering/preflight.ts'

const folder = mkdtempSync(join(tmpdir(), 'starlane-offload-'))
t.teardown(() => rmSync(folder, { recursive: true }))
const [cgroup, bpf] = [join(folder, 'cgroup'), join(folder, 'bpf')]
mkdirSync(cgroup)
mkdirSync(bpf)
const prepare = 'ip link set lo up && mount -t cgroup2 none "$0" && mount -t bpf none "$1"'
const enter = (...command: string[]) => [
  '-n',
  '-m',
  'sh',
  '-c',
  `${prepare} && shift && exec "$@"`,
  cgroup,
  bpf,
  ...command,
]
const missing = whyNoSteering(findAddon(), undefined)
const can = spawnSync('unshare', enter('mkdir', `${cgroup}/starlane-probe`)).status === 0
if (can) spawnSync('unshare', enter('rmdir', `${cgroup}/starlane-probe`))
const skip =
  missing?.includes('cgroup v2 is mounted') === false
    ? missing
    : can
      ? false
      : 'needs root, unshare, cgroup v2 and bpffs'

/** What the program prints in namespaces of its own. */
function inNamespace(name: string, ...args: string[]): unknown {
  const program = fileURLToPath(new URL(`support/${name}`, import.meta.url))
  const command = enter(process.execPath, program, cgroup, bpf, ...args)
  const { stdout, stderr } = spawnSync('unshare', command, { encoding: 'utf8' })
  const line = stdout.trim().split('\n').at(-1) ?? ''
  return line.startsWith('{') ? JSON.parse(line) : { stderr }
}

t.test('to Starlane', { skip }, async t => {
  t.same(inNamespace('to-starlane.ts', 'native'), {
    status: ['ok', 'the kernel leads clients of 4 frontends in CGROUP'],
    tcp4: ['red', '10.96.0.10:80'],
    tcp4FromIPv6Socket: ['red', '[::ffff:10.96.0.10]:80'],
    tcp6: ['blue', '[fd00:96::10]:80'],
    otherPort: ['ENETUNREACH'],
    empty: ['ECONNREFUSED'],
    outside: 'ENETUNREACH',
    udp: ['green', '10.96.0.10:53'],
    udpConnected: [['green', '10.96.0.10:53'], '10.96.0.10:53'],
    udpFromIPv6Socket: ['green', '[::ffff:10.96.0.10]:53'],
    later: 'came and went',
    handover: { someAsked: true, lost: 0 },
    adopted: true,
    udpAfterHandover: ['green', '10.96.0.10:53'],
    crashed: ['ECONNREFUSED'],
    afterCrash: ['red', '10.96.0.10:80'],
    adoptedAfterCrash: true,
    leftover: ['ENETUNREACH'],
    udpAfterCrash: ['green', '10.96.0.10:53'],
    code: 0,
    stopped: ['ENETUNREACH'],
    pins: [],
  })
})

t.test('straight to backends', { skip }, async t => {
  const pod = '10.0.0.2'
  t.match(inNamespace('to-backends.ts'), {
    // The backend sees the pod, and the pod the ClusterIP.
    direct: [new RegExp(`^(one|two) ${pod}$`), '10.96.0.10:80'],
    // What a plugin decides for each flow goes through Starlane.
    sticky: ['one 10.0.0.1', '10.96.0.11:80'],
    explained: [
      /straight to these backends: no retry, limits/,
      /not straight to backends: session-affinity sees each flow$/,
    ],
    weights: { sum: 400, threeQuarters: true },
    datagrams: ['ONE OF THEM 10.96.0.12:53'],
    // Who connects to a listener by itself: a pod of the node, and another machine.
    listener: [[/^(one|two) 10\.0\.0\.1$/, /^10\.96\.0\.1[01]:80$/], ['ECONNRESET']],
    cut: { tcp: 'ECONNABORTED', udp: 'ECONNABORTED' },
    afterChange: [`one ${pod}`],
    udpAfterChange: ['one 10.96.0.12:53'],
    // Without Starlane.
    crashed: [[`one ${pod}`, '10.96.0.10:80'], ['ECONNREFUSED']],
    afterCrash: [
      [`one ${pod}`, '10.96.0.10:80'],
      ['one 10.0.0.1', '10.96.0.11:80'],
    ],
    code: 0,
  })
})
