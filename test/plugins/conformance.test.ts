/** The built-in plugins pass the conformance suite, and the suite finds each broken law. */
import t from 'tap'
import affinity from '../../plugins/affinity/index.ts'
import circuitBreaker from '../../plugins/circuit-breaker/index.ts'
import policy from '../../plugins/policy/index.ts'
import sessionAffinity from '../../plugins/session-affinity/index.ts'
import tenancy from '../../plugins/tenancy/index.ts'
import type { Backend } from '../../proxy/model/backend.ts'
import { keep, type Plugin, type PluginModule } from '../../proxy/plugin.ts'
import { type Exam, examinePlugin, type Law } from '../conformance/plugin.ts'

const builtIns: [module: PluginModule, exam?: Exam][] = [
  [affinity],
  [sessionAffinity],
  [sessionAffinity, { options: { clients: 3 } }],
  [tenancy],
  [tenancy, { options: { tenants: { blue: '10.9.0.1', red: 'fd00::/16' }, shared: ['default/all-*'] } }],
  [policy],
  [policy, { options: { dns: 'hide', audit: true, undecided: 'allow', pods: ['10.0.0.0/8'] } }],
  [circuitBreaker],
  [circuitBreaker, { options: { maxConnections: 2, minimum: 1, rest: '5s', whenAllOpen: 'try', errorRate: '1%' } }],
]

for (const [module, exam] of builtIns) {
  t.test(`${module.name} passes ${exam ? JSON.stringify(exam) : ''}`, async t => {
    t.same(await examinePlugin(module, exam), [])
  })
}

const good: PluginModule = { name: 'good', options: {}, onError: 'skip', create: () => ({}) }
const made = (hooks: (state: Map<string, number>) => Plugin, given: Partial<PluginModule> = {}): PluginModule => ({
  ...good,
  ...given,
  create: () => hooks(new Map()),
})
/** A hook as untyped JavaScript would return it. */
const untyped = (hook: (...args: never[]) => unknown) => hook as never
function fails(): never {
  throw new Error('x')
}

/** How often it was counted by now. */
function count(seen: Map<string, number>, key: string): number {
  const times = (seen.get(key) ?? 0) + 1
  seen.set(key, times)
  return times
}

const shared = new Map<string, number>()
const bad: [law: Law, what: string, module: PluginModule][] = [
  ['module', 'no default export', undefined as never],
  ['module', 'no name', { ...good, name: '' }],
  ['module', 'no onError', { ...good, onError: undefined as never }],
  ['module', 'a misspelt decides', { ...good, decides: 'once' as never }],
  ['module', 'create() that throws', { ...good, create: fails }],
  ['module', 'create() that is slow', { ...good, create: untyped(async () => ({})) }],
  ['module', 'a hook that is no function', made(() => ({ pick: 7 as never }))],
  ['module', 'appliesTo that says yes', { ...good, appliesTo: untyped(() => 'yes') }],
  ['noThrow', 'appliesTo that throws', { ...good, appliesTo: fails }],
  [
    'atOnce',
    'candidates that wait',
    made(() => ({ candidates: untyped(async (_flow: never, backends: never) => backends) })),
  ],
  [
    'atOnce',
    'a watcher that waits and fails',
    made(() => ({
      onResult: untyped(async () => fails()),
    })),
  ],
  [
    'noThrow',
    'no backends were expected',
    made(() => ({ onService: ({ backends }) => void (backends[0] as Backend).key.length })),
  ],
  [
    'noThrow',
    'no end without a beginning was expected',
    made(open => ({
      onConnect: ({ id }) => void open.set(`${id}`, 1),
      onClose: ({ id }) => {
        if (!open.has(`${id}`)) throw new Error('who?')
      },
    })),
  ],
  [
    'noThrow',
    'the list is turned round in place',
    made(() => ({ candidates: (_flow, backends) => (backends as Backend[]).reverse() })),
  ],
  ['part', 'nothing', made(() => ({ candidates: untyped(() => undefined) }))],
  ['part', 'a copy of the list', made(() => ({ candidates: (_flow, backends) => [...backends] }))],
  ['part', 'the list twice', made(() => ({ candidates: (_flow, backends) => [...backends, ...backends] }))],
  ['part', 'what was tried', made(() => ({ candidates: ({ frontend }) => frontend.backends }))],
  [
    'part',
    'copies of backends',
    made(() => ({ candidates: (_flow, backends) => backends.map(b => ({ ...b })).slice(1) })),
  ],
  ['member', 'the first of the frontend', made(() => ({ pick: ({ frontend }) => frontend.backends[0] }))],
  ['refusal', 'just no', made(() => ({ admit: untyped(() => false) }))],
  [
    'asking',
    'every question is counted',
    made(asked => ({
      candidates: ({ client }, backends) => (count(asked, client.address) > 0 ? backends : []),
      state: () => Object.fromEntries(asked),
    })),
  ],
  [
    'asking',
    'every other answer',
    made(asked => ({
      candidates: (_flow, backends) => (count(asked, 'n') % 2 === 0 ? backends : backends.slice(1)),
    })),
  ],
  [
    'change',
    'the client matters',
    made(() => ({ candidates: ({ client }, b) => keep(b, x => !x.remote || client.port > 1) }), { decides: 'change' }),
  ],
  [
    'change',
    'the time matters',
    {
      ...good,
      decides: 'change',
      create: (_options, { clock }) => ({ candidates: (_flow, b) => keep(b, x => !x.remote || clock.now() > 1000) }),
    },
  ],
  [
    'change',
    'the past matters',
    made(
      seen => ({
        onConnect: (_flow, { key }) => void seen.set(key, 1),
        candidates: (_flow, b) => keep(b, x => !seen.has(x.key)),
      }),
      { decides: 'change' },
    ),
  ],
  [
    'own',
    'one memory for all instances',
    made(() => ({
      onConnect: (_flow, { key }) => void shared.set(key, 1),
      candidates: (_flow, b) => keep(b, x => !shared.has(x.key)),
    })),
  ],
  [
    'own',
    'one memory for all instances, in status alone',
    made(() => ({ onConnect: () => void count(shared, 'connects'), state: () => shared.get('connects') ?? 0 })),
  ],
  ['note', 'a note without a state', made(() => ({ note: untyped(() => ({ detail: 'open' })) }))],
  ['note', 'a note that is no text', made(() => ({ note: untyped(() => ({ state: 7 })) }))],
  ['asking', 'a note that counts', made(seen => ({ note: () => ({ state: String(count(seen, 'notes')) }) }))],
  ['state', 'a map', made(map => ({ state: () => map.set('a', 1) as never }))],
  ['state', 'a date', made(() => ({ state: () => ({ at: new Date(0) }) as never }))],
  [
    'state',
    'round and round',
    made(() => ({
      state: () => {
        const x: unknown[] = []
        x.push(x)
        return x as never
      },
    })),
  ],
  [
    'state',
    'every client there ever was',
    made(seen => ({
      onConnect: ({ client }) => void seen.set(client.address.repeat(5), 1),
      state: () => [...seen.keys()],
    })),
  ],
  [
    'close',
    'a timer',
    { ...good, create: (_options, { clock }) => ({ onService: () => void clock.every(1e9, () => {}) }) },
  ],
  [
    'close',
    'only once',
    made(closed => ({
      close: () => {
        if (closed.has('x')) throw new Error('again?')
        closed.set('x', 1)
      },
    })),
  ],
]

t.test('the suite detects a breach of every law', async t => {
  for (const [law, what, module] of bad) {
    const breaches = await examinePlugin(module)
    t.ok(
      breaches.some(breach => breach.law === law),
      `${law}: ${what} (${breaches.map(breach => breach.law)})`,
    )
  }
  t.same(await examinePlugin(good), [])
  t.equal(
    (await examinePlugin({ ...good, options: { a: { type: '', help: '', fallback: undefined, parse: () => 1 } } }))[0]
      ?.law,
    'module',
  )
})
