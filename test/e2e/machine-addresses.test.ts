/** The addresses of this machine, which may come after the start. In a network namespace of its own. */
import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'

const canUnshare = spawnSync('unshare', ['-rn', 'ip', 'link', 'set', 'lo', 'up']).status === 0
const child = new URL('../support/netns/machine-child.ts', import.meta.url).pathname

t.test('an endpoint that becomes one of Starlane itself', { skip: !canUnshare && 'needs unshare -rn' }, async t => {
  const whole = ['-rn', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh', process.execPath, child]
  const { stdout } = await promisify(execFile)('unshare', whole, {
    env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
    timeout: 60_000,
  })
  t.same(JSON.parse(stdout), { before: 1, with: 1, after: 1 })
})
