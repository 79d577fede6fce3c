/** Tunnels where three packets of ten are lost each way: what they carry waits, and arrives whole. */
import { execFile, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { findAddon } from '../../../proxy/dataplane/native/addon.ts'
import { whyNotInPump } from '../../../proxy/dataplane/native/tunnels.ts'

const up = ['-n', 'sh', '-c', 'ip link set lo up mtu 1280 && exec "$@"', 'sh']
const allowed = spawnSync('unshare', [...up, 'nft', 'add', 'table', 'inet', 'loss']).status === 0
const skip =
  process.env.STARLANE_TUNNEL !== '1'
    ? 'npm run test:tunnel'
    : allowed
      ? false
      : 'no network namespace with nft is allowed here'
const found = findAddon()
const whyNoPump = 'why' in found ? found.why : whyNotInPump(found.addon.tunnels)
const child = fileURLToPath(new URL('loss-child.ts', import.meta.url))

async function lossy(t: Test, way: 'streams' | 'pump', prepare: string): Promise<void> {
  const env = { ...process.env, TAP_TIMEOUT: '270' }
  const command = ['sh', '-c', `${prepare} exec "$@"`, 'sh', process.execPath, child, way, '30']
  const { stdout } = await promisify(execFile)('unshare', [...up, ...command], { env })
  t.match(stdout, /^ok 1 - bytes arrive whole/m)
  t.match(stdout, /\d+ packets were dropped/)
}

t.jobs = 2
t.test('30 % loss each way, MTU 1280: tunnels in pumps', { skip: skip || whyNoPump || false, timeout: 280_000 }, t =>
  lossy(t, 'pump', ''),
)
// As docs/tunnel.md says for lossy paths. A kernel before Linux 6.15 does not know it.
const shortPauses = 'sysctl -qw net.ipv4.tcp_rto_max_ms=2000 net.ipv4.tcp_retries2=100 2>/dev/null;'
t.test('30 % loss each way, MTU 1280: tunnels of node:http2', { skip, timeout: 280_000 }, t =>
  lossy(t, 'streams', shortPauses),
)
