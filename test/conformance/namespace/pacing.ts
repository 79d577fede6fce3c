/** Where BBR is the congestion control of the machine, what stays within it is not paced; what goes to other hosts is. */
import { execFile, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import type { EngineInChild } from '../engine/rig.ts'
import { inNamespace, lacksFarHosts } from './far-echo.ts'

const withBbr = ['sh', '-c', 'sysctl -qw net.ipv4.tcp_congestion_control=bbr && exec "$@"', 'sh']

export function pacingSuite(t: Test, { source, export: name }: EngineInChild): void {
  const hasBbr = spawnSync('unshare', [...inNamespace, ...withBbr, 'true']).status === 0
  const skip = lacksFarHosts() || (hasBbr ? false : 'this kernel has no BBR')

  t.test('transfers are paced on their way to another host, and not within this one', { skip }, async t => {
    const child = fileURLToPath(new URL('pacing-child.ts', import.meta.url))
    const command = [...inNamespace, ...withBbr, process.execPath, child, source.href, name]
    const { stdout } = await promisify(execFile)('unshare', command, { timeout: 60_000 })
    t.same(JSON.parse(stdout), {
      'a small one': { client: 'bbr', backend: 'bbr' },
      'a small one on loopback': { client: 'reno', backend: 'bbr' },
      'from another host': { client: 'reno', backend: 'bbr' },
      'on loopback': { client: 'reno', backend: 'reno' },
      'on IPv6 loopback': { client: 'reno', backend: 'reno' },
      'of a client at the address of the frontend': { client: 'reno', backend: 'bbr' },
    })
  })
}
