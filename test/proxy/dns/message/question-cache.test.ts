/** The cache by question has little room at first, and all it may have once it is needed. */
import t from 'tap'
import { type CacheEntry, QuestionCache } from '../../../../proxy/dns/message/question-cache.ts'

interface Value extends CacheEntry {
  readonly n: number
}

const value = (n: number): Value => ({ n, message: Buffer.alloc(10) })

t.test('grows without a loss, and keeps the order of use', async t => {
  const removed: number[] = []
  const cache = new QuestionCache<Value>({
    entries: 1000,
    bytes: 1 << 20,
    sizeOf: ({ message }) => message.length,
    removed: ({ n }) => removed.push(n),
  })
  for (let n = 0; n < 1000; n++) cache.set(n, value(n))
  t.same([cache.size, cache.bytes, cache.evictions], [1000, 10_000, 0])
  t.same(removed, [], 'nothing was told to be gone while it grew')
  t.equal(cache.peek(0)?.n, 0)
  cache.set(1000, value(1000))
  t.same([removed, cache.evictions, cache.size], [[0], 1, 1000], 'then the one that was not used for longest goes')
  cache.delete(500)
  t.same(removed, [0, 500])
})

t.test('has no more room than it may have', async t => {
  const cache = new QuestionCache<Value>({ entries: 2, bytes: 1 << 20, sizeOf: () => 1 })
  for (let n = 0; n < 3; n++) cache.set(n, value(n))
  t.same([cache.size, cache.evictions], [2, 1])
})
