/** The room for young objects: small, until the heap is large. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'

t.test('a small heap keeps its room for young objects, and a large one gets more', async t => {
  const room = async (heap: number) => {
    const child = fork(new URL('heap-child.ts', import.meta.url), [String(heap)], {
      execArgv: ['--min-semi-space-size=2', '--max-semi-space-size=16'],
    })
    const [grown] = (await once(child, 'message')) as [number]
    child.disconnect()
    return grown
  }
  const small = await room(0)
  const large = await room(1 << 30)
  t.ok(small <= 4, `${small} MiB`)
  t.ok(large >= 2 * small, `${large} MiB against ${small}`)
})
