/** Where the client has spoken before its backend is dialled, the handshake with the backend ends with the first bytes. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import type { EngineInChild } from '../engine/rig.ts'
import { inNamespace, lacksFarHosts } from './far-echo.ts'

export function handshakeSuite(t: Test, { source, export: name }: EngineInChild): void {
  t.test('a client that speaks first saves its backend a packet', { skip: lacksFarHosts() }, async t => {
    const child = fileURLToPath(new URL('handshake-child.ts', import.meta.url))
    const command = [...inNamespace, process.execPath, child, source.href, name]
    const { stdout } = await promisify(execFile)('unshare', command, { timeout: 60_000 })
    const { connections, spokeFirst, spokeLater } = JSON.parse(stdout) as Record<string, number>
    t.equal(Math.round((Number(spokeLater) - Number(spokeFirst)) / Number(connections)), 1, stdout)
  })
}
