/** Dials without a free local port, and dials that meet their own end. */
import { execFile, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import type { EngineInChild } from '../engine/rig.ts'
import { onlyPort } from './ports-child.ts'

const prepare = `ip link set lo up && echo ${onlyPort} ${onlyPort} > /proc/sys/net/ipv4/ip_local_port_range && exec "$@"`
const inNamespace = ['-n', 'sh', '-c', prepare, 'sh']

export function portSuite(t: Test, { source, export: name }: EngineInChild): void {
  const skip =
    spawnSync('unshare', [...inNamespace, 'true']).status === 0 ? false : 'no network namespace is allowed here'

  t.test('with one local port left, no backend is blamed for the machine', { skip }, async t => {
    const child = fileURLToPath(new URL('ports-child.ts', import.meta.url))
    const command = [...inNamespace, process.execPath, child, source.href, name]
    const { stdout } = await promisify(execFile)('unshare', command, { timeout: 60_000 })
    const seen = JSON.parse(stdout)
    t.same(seen.tcpWithoutPort, { answers: ['first', 'second'], outcomes: ['connected', 'local', 'connected'] })
    t.same(seen.tcpToItself, { answer: '', outcomes: ['refused'], refusals: ['no-backend'] })
    t.same(seen.udpWithoutPort, { outcomes: ['local'], refusals: ['no-backend'] })
    t.same(seen.udpToItself, { outcomes: ['refused'], echoed: 0 })
  })
}
