/** Two clusters with the same pod network, in network namespaces: what passes between them, as tcpdump sees it. */
import { execFile, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'

const up = ['-n', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh']
const veth = ['ip', 'link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far']
const missing = ['ip', 'nsenter', 'tcpdump'].find(program => spawnSync(program, ['--version']).error)
const allowed = spawnSync('unshare', [...up, ...veth]).status === 0
const skip = missing ? `there is no ${missing}` : allowed ? false : 'no network namespace with a veth is allowed here'

interface Seen {
  readonly answers: Readonly<Record<string, number>>
  readonly large: string
  readonly packets: number
  readonly endpoints: readonly string[]
  readonly records: number
  readonly leaks: readonly string[]
  readonly health: string
}

t.test(
  'overlapping pod networks, MTU 1280: both pods answer, and an observer sees gateways and TLS only',
  { skip },
  async t => {
    const child = fileURLToPath(new URL('overlap-child.ts', import.meta.url))
    const { stdout } = await promisify(execFile)('unshare', [...up, process.execPath, child], { timeout: 90_000 })
    const seen = JSON.parse(stdout) as Seen
    t.ok((seen.answers.here ?? 0) >= 8 && (seen.answers.there ?? 0) >= 8, JSON.stringify(seen.answers))
    t.equal((seen.answers.here ?? 0) + (seen.answers.there ?? 0), 20)
    t.equal(seen.large, 'whole')
    t.equal(seen.health, 'up')
    t.ok(seen.packets > 50, `${seen.packets} packets`)
    t.same(seen.endpoints, ['10.200.0.1', '10.200.0.2:15008'], 'no pod address, and no other port')
    t.ok(seen.records > 20, `${seen.records} packets begin with a record of TLS`)
    t.same(seen.leaks, [], 'nothing that was said can be read')
  },
)
