/** The pieces that are pure or nearly so: rise and fall, the agenda. */
import fc from 'fast-check'
import t from 'tap'
import { Agenda } from '../../../proxy/health/due-queue.ts'
import { type Checks, judge, unchecked } from '../../../proxy/health/rise-fall.ts'

t.test(
  'rise 2, fall 3: P is a check passed, F one failed; each letter of the result is the verdict after it',
  async t => {
    const cases = [
      // The first check passed decides; a failed one alone never does.
      { checks: 'P', verdicts: 'u' },
      { checks: 'FFF', verdicts: '??d' },
      { checks: 'FFP', verdicts: '??u' },
      { checks: 'PFFF', verdicts: 'uuud' },
      // Only failures in a row count, and only passes in a row.
      { checks: 'PFFPFFPFF', verdicts: 'uuuuuuuuu' },
      { checks: 'FFFPFPFPF', verdicts: '??ddddddd' },
      { checks: 'FFFPP', verdicts: '??ddu' },
      { checks: 'FFFFFFPPFFPFFF', verdicts: '??ddddduuuuuud' },
    ]
    const letters = { unknown: '?', up: 'u', down: 'd' }
    for (const { checks, verdicts } of cases) {
      let state: Checks = unchecked
      let seen = ''
      for (const check of checks) {
        state = judge(state, check === 'P', { rise: 2, fall: 3 })
        seen += letters[state.health]
      }
      t.equal(seen, verdicts, checks)
    }
  },
)

t.test('with rise and fall of one, each check is the verdict', async t => {
  let state = unchecked
  for (const passed of [false, true, false, false, true]) {
    state = judge(state, passed, { rise: 1, fall: 1 })
    t.equal(state.health, passed ? 'up' : 'down')
  }
})

t.test('the agenda gives back in the order of due, whatever was added and removed in between', async t => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('add' as const), due: fc.integer({ min: 0, max: 1000 }) }),
    fc.record({ do: fc.constant('add' as const), due: fc.integer({ min: 0, max: 1000 }) }),
    fc.record({ do: fc.constant('remove' as const), which: fc.nat({ max: 300 }) }),
    fc.record({ do: fc.constant('take' as const) }),
  )
  fc.assert(
    fc.property(fc.array(step, { minLength: 50, maxLength: 300 }), steps => {
      const agenda = new Agenda<{ due: number; slot: number }>()
      const model: { due: number; slot: number }[] = []
      for (const step of steps) {
        if (step.do === 'add') {
          const item = { due: step.due, slot: 0 }
          agenda.add(item)
          model.push(item)
        } else {
          const item = step.do === 'take' ? agenda.first : model[step.which % Math.max(1, model.length)]
          if (!item) continue
          if (step.do === 'take' && item.due !== Math.min(...model.map(m => m.due))) return false
          agenda.remove(item)
          agenda.remove(item)
          model.splice(model.indexOf(item), 1)
        }
      }
      const rest = model.map(item => item.due).sort((x, y) => x - y)
      for (let first = agenda.first; first; first = agenda.first) {
        if (first.due !== rest.shift()) return false
        agenda.remove(first)
      }
      return rest.length === 0
    }),
  )
  t.pass()
})
