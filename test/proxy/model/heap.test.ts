/** V8's settings: its own until the process has started, and little room for young objects until the heap is large. */
import { fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { flags } from '../../../scripts/release/executable.ts'

async function child(heap: number): Promise<{ growth: number; taken: boolean[] }> {
  const process = fork(new URL('heap-child.ts', import.meta.url), [String(heap)], { execArgv: [...flags] })
  const [told] = (await once(process, 'message')) as [{ growth: number; taken: boolean[] }]
  process.disconnect()
  return told
}

t.test('a small heap keeps its room for young objects, and a large one gets more', async t => {
  const small = await child(0)
  const large = await child(1 << 30)
  // Twice; more by pages that a collection on several threads has not given back yet.
  t.ok(small.growth <= 4, `${small.growth} times`)
  t.ok(large.growth > 2 * small.growth, `${large.growth} times`)
  t.same(small.taken, [true, false], 'a start compiles none of the modules of Node')
})

t.test("the executable's flags are none that V8 compares with those of compiled code", async t => {
  const tag = (...own: string[]) =>
    spawnSync(process.execPath, [...own, '-p', 'v8.cachedDataVersionTag()'], { encoding: 'utf8' }).stdout
  t.ok(Number(tag()) > 0)
  t.equal(tag(...flags), tag())
  t.not(tag('--heap-growing-percent=25'), tag(), 'such flags there are')
})
