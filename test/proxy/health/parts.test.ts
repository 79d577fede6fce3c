/** Rise and fall, and the due queue, by properties. */
import fc from 'fast-check'
import t from 'tap'
import { DueQueue } from '../../../proxy/health/due-queue.ts'
import { applyCheck, type CheckState, unchecked } from '../../../proxy/health/rise-fall.ts'

t.test(
  'rise 2, fall 3: P is a check passed, F one failed; each letter of the result is the verdict after it',
  async t => {
    const cases = [
      // One pass is enough for an unchecked backend; one failure never is.
      { checks: 'P', verdicts: 'u' },
      { checks: 'FFF', verdicts: '??d' },
      { checks: 'FFP', verdicts: '??u' },
      { checks: 'PFFF', verdicts: 'uuud' },
      // Only consecutive failures count, and only consecutive passes.
      { checks: 'PFFPFFPFF', verdicts: 'uuuuuuuuu' },
      { checks: 'FFFPFPFPF', verdicts: '??ddddddd' },
      { checks: 'FFFPP', verdicts: '??ddu' },
      { checks: 'FFFFFFPPFFPFFF', verdicts: '??ddddduuuuuud' },
    ]
    const letters = { unknown: '?', up: 'u', down: 'd' }
    for (const { checks, verdicts } of cases) {
      let state: CheckState = unchecked
      let seen = ''
      for (const check of checks) {
        state = applyCheck(state, check === 'P', { rise: 2, fall: 3 })
        seen += letters[state.health]
      }
      t.equal(seen, verdicts, checks)
    }
  },
)

t.test('with rise and fall of 1, each check decides', async t => {
  let state = unchecked
  for (const passed of [false, true, false, false, true]) {
    state = applyCheck(state, passed, { rise: 1, fall: 1 })
    t.equal(state.health, passed ? 'up' : 'down')
  }
})

t.test('the queue returns items in the order of due, whatever is added and removed in between', async t => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('add' as const), due: fc.integer({ min: 0, max: 1000 }) }),
    fc.record({ do: fc.constant('add' as const), due: fc.integer({ min: 0, max: 1000 }) }),
    fc.record({ do: fc.constant('remove' as const), which: fc.nat({ max: 300 }) }),
    fc.record({ do: fc.constant('take' as const) }),
  )
  fc.assert(
    fc.property(fc.array(step, { minLength: 50, maxLength: 300 }), steps => {
      const queue = new DueQueue<{ due: number; heapIndex: number }>()
      const model: { due: number; heapIndex: number }[] = []
      for (const step of steps) {
        if (step.do === 'add') {
          const item = { due: step.due, heapIndex: 0 }
          queue.add(item)
          model.push(item)
        } else {
          const item = step.do === 'take' ? queue.first : model[step.which % Math.max(1, model.length)]
          if (!item) continue
          if (step.do === 'take' && item.due !== Math.min(...model.map(m => m.due))) return false
          queue.remove(item)
          queue.remove(item)
          model.splice(model.indexOf(item), 1)
        }
      }
      const rest = model.map(item => item.due).sort((x, y) => x - y)
      for (let first = queue.first; first; first = queue.first) {
        if (first.due !== rest.shift()) return false
        queue.remove(first)
      }
      return rest.length === 0
    }),
  )
  t.pass()
})
