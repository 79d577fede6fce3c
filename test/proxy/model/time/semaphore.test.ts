/** Work of which only so much is under way at a time. */
import t from 'tap'
import { Semaphore } from '../../../../proxy/model/time/semaphore.ts'
import { settled } from '../../../support/clock.ts'

t.test('the rest waits for its place, in order, whether the work before it succeeds or fails', async t => {
  const semaphore = new Semaphore(2)
  const begun: number[] = []
  const ends = Array.from({ length: 5 }, () => Promise.withResolvers<number>())
  const results = ends.map(({ promise }, i) =>
    semaphore.run(() => {
      begun.push(i)
      return promise
    }),
  )
  for (const result of results) result.catch(() => {})
  await settled()
  t.same(begun, [0, 1])
  ends[1]?.reject(new Error('it failed'))
  await t.rejects(results[1] as Promise<number>, { message: 'it failed' })
  await settled()
  t.same(begun, [0, 1, 2])
  ends[0]?.resolve(7)
  t.equal(await results[0], 7)
  for (const { resolve } of ends.slice(2)) resolve(0)
  await Promise.all(results.slice(2))
  t.same(begun, [0, 1, 2, 3, 4])
  t.equal(await semaphore.run(async () => 8), 8, 'all places are free again')
  const thrown = semaphore.run(() => {
    throw new Error('at once')
  })
  await t.rejects(thrown, { message: 'at once' })
  t.equal(await semaphore.run(async () => 9), 9)
})
