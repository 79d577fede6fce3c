/**
 * An unmodified ztunnel speaks with Starlane's gateway, and Starlane's tunnels with a ztunnel. `STARLANE_ZTUNNEL` names its program, built with its
 * feature `testing`, and `STARLANE_ZTUNNEL_CA` the folder of its tree with the root that such a program trusts (`src/tls`).
 */
import { execFile, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { gatewayKinds } from '../support/tunnel/rig.ts'

const { STARLANE_ZTUNNEL: program, STARLANE_ZTUNNEL_CA: authority } = process.env
const up = ['-n', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh']
const allowed = spawnSync('unshare', [...up, 'ip', 'link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far']).status
const skip =
  program === undefined || authority === undefined
    ? 'STARLANE_ZTUNNEL and STARLANE_ZTUNNEL_CA name no ztunnel'
    : allowed !== 0 && 'no network namespace with a veth is allowed here'

for (const { kind } of gatewayKinds) {
  t.test(
    `${kind}: ztunnel to a gateway of Starlane, and Starlane to a ztunnel`,
    { skip, timeout: 120_000 },
    async t => {
      const child = fileURLToPath(new URL('ztunnel-child.ts', import.meta.url))
      const { stdout } = await promisify(execFile)('unshare', [...up, process.execPath, child, kind], {
        timeout: 110_000,
        env: { ...process.env, TAP_TIMEOUT: '100' },
      })
      for (const name of ['ztunnel is the client', 'ztunnel is the server', 'ztunnel is the workload of double HBONE'])
        t.match(stdout, new RegExp(`^ok \\d - ${name}`, 'm'), name)
    },
  )
}
