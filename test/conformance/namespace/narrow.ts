/** Sockets that take little at a time, so that what an engine sends goes out in parts: each byte arrives, in order, both ways. */
import { execFile, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import type { EngineInChild } from '../engine/rig.ts'

// What a socket may hold, in bytes: at least, at first, at most.
const situations = {
  'sockets that take a few kilobytes at a time': 'tcp_wmem=4608 4608 4608',
  'peers with tiny receive buffers': 'tcp_rmem=2304 2304 2304',
}

export function narrowSuite(t: Test, { source, export: name }: EngineInChild): void {
  for (const [situation, setting] of Object.entries(situations)) {
    const prepare = `ip link set lo up && ip link set lo mtu 1500 && sysctl -qw "net.ipv4.${setting}" && exec "$@"`
    const inNamespace = ['-n', 'sh', '-c', prepare, 'sh']
    const allowed = spawnSync('unshare', [...inNamespace, 'true']).status === 0
    const skip = allowed ? false : 'no network namespace is allowed here'

    t.test(`partial sends: ${situation}`, { skip }, async t => {
      const child = fileURLToPath(new URL('narrow-child.ts', import.meta.url))
      const command = [...inNamespace, process.execPath, child, source.href, name]
      const { stdout } = await promisify(execFile)('unshare', command, { timeout: 60_000 })
      t.same(JSON.parse(stdout), { down: 'whole', up: 'whole', both: 'whole', broken: [] })
    })
  }
}
