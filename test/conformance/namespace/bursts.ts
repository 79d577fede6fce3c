/** Bursts of datagrams, which engines may pass on together: each arrives whole, in both directions, whatever the device can do. */
import { execFile, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { program } from '../../support/programs/program.ts'
import type { EngineInChild } from '../engine/rig.ts'

const situations = {
  'a device that takes large segments': 'ip link set lo up',
  // A segment must fit into a packet; the kernel refuses to segment what does not.
  'a device whose packets are smaller than the datagrams': 'ip link set lo up && ip link set lo mtu 1000',
}

export function burstSuite(t: Test, { source, export: name }: EngineInChild): void {
  for (const [situation, prepare] of Object.entries(situations)) {
    const inNamespace = ['-n', 'sh', '-c', `${prepare} && exec "$@"`, 'sh']
    const allowed = spawnSync('unshare', [...inNamespace, 'true']).status === 0
    const skip = allowed ? false : 'no network namespace is allowed here'

    t.test(`bursts of datagrams, ${situation}`, { skip }, async t => {
      const burst = program(t, fileURLToPath(new URL('../../support/programs/burst.c', import.meta.url)))
      if (!burst) {
        t.pass('there is no C compiler')
        return
      }
      const child = fileURLToPath(new URL('bursts-child.ts', import.meta.url))
      const command = [...inNamespace, process.execPath, child, source.href, name, burst]
      const { stdout } = await promisify(execFile)('unshare', command, { timeout: 100_000 })
      const { refusedFirst, ...others } = JSON.parse(stdout) as Record<
        string,
        { sent: number; answered: number; wrong: number }
      >
      for (const [kind, { sent, answered, wrong }] of Object.entries(others))
        t.same({ answered, wrong }, { answered: sent, wrong: 0 }, kind)
      // What was sent to the backend that refuses is lost; the rest of the first burst has gone on to the other.
      t.equal(refusedFirst?.wrong, 0)
      t.ok((refusedFirst?.answered ?? 0) >= (refusedFirst?.sent ?? 0) - 16, `${refusedFirst?.answered} answers`)
    })
  }
}
