/** The fuzzer's corpus, and a few mutations of it: `npm run fuzz` runs longer. */
import t from 'tap'
import { attempt } from '../../scripts/fuzz/attempt.ts'
import { lineOf, readCorpus } from '../../scripts/fuzz/corpus.ts'
import { mutateBytes, mutateJson } from '../../scripts/fuzz/mutate.ts'
import { dice as diceOf } from '../../scripts/fuzz/random.ts'
import { targets } from '../../scripts/fuzz/targets.ts'

for (const target of targets) {
  t.test(`${target.name}: every input is handled within the rules`, async t => {
    const pool = readCorpus(target.name)
    const dice = diceOf(1)
    const mutations = Array.from({ length: 40 }, () => {
      const input = dice.any(pool)
      return mutateJson(input, pool, dice) ?? mutateBytes(input, pool, target.words, dice)
    })
    for (const input of [...pool, ...mutations]) {
      try {
        attempt(target, input)
      } catch (error) {
        t.fail(`${(error as Error).message}: ${lineOf(input).slice(0, 500)}`)
      }
    }
    t.ok(pool.length > 0)
  })
}

t.test('a list with thousands of other arrays takes linear time', async t => {
  const [lists] = targets.filter(({ name }) => name === 'lists')
  const input = Buffer.from(`{"metadata":{"resourceVersion":"1"},${'"a":[],'.repeat(9000)}"items":[]}`)
  t.equal(lists && attempt(lists, input), 'a page: ')
})
