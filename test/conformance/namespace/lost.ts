/** A backend whose host dies in silence is found without health checks, and a reader that pauses is not taken for one. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import type { EngineInChild } from '../engine/rig.ts'
import { inNamespace, lacksFarHosts } from './far-echo.ts'

/** Which connection to a host that has died the engine finds in 15 s: one that has sent something, or one that waits. */
export type Finds = 'unacknowledged' | 'silent'

export function lostSuite(t: Test, { source, export: name }: EngineInChild, finds: Finds): void {
  const skip = lacksFarHosts()

  t.test('a backend whose host falls silent is lost in 15 s, and a reader that pauses is kept', { skip }, async t => {
    const child = fileURLToPath(new URL('lost-child.ts', import.meta.url))
    const command = [...inNamespace, process.execPath, child, source.href, name]
    const { stdout } = await promisify(execFile)('unshare', command, { timeout: 60_000 })
    const seen = JSON.parse(stdout) as Record<'writing' | 'waiting' | 'stalled', number | 'open'> & {
      reasons: string[]
    }
    const [found, other] = finds === 'unacknowledged' ? [seen.writing, seen.waiting] : [seen.waiting, seen.writing]
    t.ok(typeof found === 'number' && found >= 13 && found <= 19, `${found} s`)
    t.equal(other, 'open', 'what this engine does not find')
    t.equal(seen.stalled, 'open')
    t.same(seen.reasons, ['backend-lost'])
  })
}
