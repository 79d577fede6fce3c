import fc from 'fast-check'
import t from 'tap'
import { FrontendOwners } from '../../../proxy/mesh/frontend-owners.ts'

t.test('a frontend that a service names no more goes to the next, also if it names another one twice', async t => {
  const owners = new FrontendOwners()
  t.same(owners.claim('default/a', ['x:80', 'x:81']), { granted: new Set(['x:80', 'x:81']), freed: [] })
  t.same(owners.claim('default/b', ['x:81']), { granted: new Set(), freed: [] })
  t.same(owners.claim('default/a', ['x:80', 'x:80']), { granted: new Set(['x:80']), freed: ['default/b'] })
  t.same(owners.claim('default/b', ['x:81']), { granted: new Set(['x:81']), freed: [] })
  t.same(owners.conflicts(), [])
})

t.test('each frontend has one owner, the first of those that want it still', async t => {
  const services = ['a', 'b', 'c']
  const all: readonly string[] = ['w', 'x', 'y', 'z']
  const step = fc.tuple(fc.constantFrom(...services), fc.array(fc.constantFrom(...all), { maxLength: 4 }))
  const property = fc.property(fc.array(step, { maxLength: 30 }), steps => {
    const owners = new FrontendOwners()
    const wanting = new Map<string, string[]>()
    const granted = new Map<string, ReadonlySet<string>>()
    const has = (service: string) => [...wanting].flatMap(([one, [first]]) => (first === service ? one : []))
    for (const [service, frontends] of steps) {
      for (const one of all) {
        const waiting = wanting.get(one) ?? []
        if (!frontends.includes(one))
          wanting.set(
            one,
            waiting.filter(other => other !== service),
          )
        else if (!waiting.includes(service)) wanting.set(one, [...waiting, service])
      }
      const answer = owners.claim(service, frontends)
      granted.set(service, answer.granted)
      for (const other of answer.freed) granted.set(other, owners.claim(other, [...wantedBy(wanting, other)]).granted)
      for (const one of services) {
        if (granted.has(one) && [...(granted.get(one) ?? [])].sort().join() !== has(one).sort().join()) return false
      }
    }
    return true
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 500 }))
})

function wantedBy(wanting: ReadonlyMap<string, readonly string[]>, service: string): string[] {
  return [...wanting].flatMap(([one, waiting]) => (waiting.includes(service) ? one : []))
}
