/** Tunnels where three packets of ten are lost each way: what they carry waits, and arrives whole. */
import { execFile, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'

const up = ['-n', 'sh', '-c', 'ip link set lo up mtu 1280 && exec "$@"', 'sh']
const allowed = spawnSync('unshare', [...up, 'nft', 'add', 'table', 'inet', 'loss']).status === 0
const skip =
  process.env.STARLANE_TUNNEL !== '1'
    ? 'npm run test:tunnel'
    : allowed
      ? false
      : 'no network namespace with nft is allowed here'

t.test('30 % loss each way, MTU 1280', { skip, timeout: 280_000 }, async t => {
  const child = fileURLToPath(new URL('loss-child.ts', import.meta.url))
  const env = { ...process.env, TAP_TIMEOUT: '270' }
  const { stdout } = await promisify(execFile)('unshare', [...up, process.execPath, child, '30'], { env })
  t.match(stdout, /^ok 1 - bytes arrive whole/m)
  t.match(stdout, /\d+ packets were dropped/)
})
