import {
  type Backend,
  type Backends,
  blames,
  definePlugin,
  duration,
  integer,
  keep,
  oneOf,
  percent,
  type Result,
  type Totals,
} from '../../proxy/plugin.ts'
import type { Verdict } from './breaker.ts'
import { Breakers } from './breakers.ts'
import { Connections } from './connections.ts'

const windowRange = { min: 1000, max: 3_600_000 }
const restRange = { min: 100, max: 86_400_000 }

/** Keeps flows away from backends whose dials fail, and from those that have as many connections as they may. */
export default definePlugin({
  name: 'circuit-breaker',
  options: {
    errorRate: percent('The share of failed dials that opens a breaker.', '50%'),
    minimum: integer(
      'So many dials must have ended within the window before the share counts.',
      { min: 1, max: 10_000 },
      5,
    ),
    window: duration('How far back dials count.', '9s', windowRange),
    rest: duration(
      'How long an open breaker rests before it lets one flow try; up to a tenth is added.',
      '30s',
      restRange,
    ),
    earlyClose: integer(
      'So many connections in a row that the backend resets within a second, before its first byte, open it too; 0 for never.',
      { min: 0, max: 1000 },
      5,
    ),
    maxConnections: integer(
      'How many connections a backend may have at a time; 0 for any number.',
      { min: 0, max: 1_000_000 },
      0,
    ),
    whenAllOpen: oneOf(
      'What becomes of a flow when the breakers of all its backends are open.',
      ['refuse', 'try'],
      'refuse',
    ),
  },
  onError: 'skip',
  create: (options, host) => {
    const { errorRate, minimum, window: windowMs, rest: restMs, earlyClose, maxConnections, whenAllOpen } = options
    // What is left of a list holds until a breaker or a limit changes, so that later steps can go by its identity.
    let left = new WeakMap<Backends, Backends>()
    const forget = () => {
      left = new WeakMap()
    }
    const breakers = new Breakers({ errorRate, minimum, windowMs, restMs, earlyClose }, host, forget)
    const connections = new Connections(maxConnections, host, forget)

    const narrowed = (backends: Backends): Backends => {
      const free = keep(backends, ({ key }) => !connections.full.has(key))
      const passing = keep(free, ({ key }) => !breakers.blocking.has(key))
      return passing.length === 0 && whenAllOpen === 'try' ? free : passing
    }
    return {
      candidates: ({ tried }, backends) => {
        if (breakers.blocking.size === 0 && connections.full.size === 0) return backends
        if (tried.length > 0) return narrowed(backends)
        const known = left.get(backends)
        if (known !== undefined) return known
        const passing = narrowed(backends)
        left.set(backends, passing)
        return passing
      },
      onConnect: ({ id }, { key }) => {
        connections.add(key)
        breakers.of(key).begin(id)
      },
      onResult: ({ id }, backend, result) => {
        if (result.outcome !== 'connected') connections.remove(backend.key)
        breakers.find(backend.key)?.settle(id, verdictOf(backend, result))
      },
      onClose: (_flow, { key }, totals) => {
        connections.remove(key)
        breakers.find(key)?.ended(isEarlyClose(totals))
      },
      onService: (_service, gone) => {
        for (const { key } of gone) breakers.forget(key)
      },
      why: (_flow, { key }) =>
        connections.full.has(key)
          ? `it has ${maxConnections} connections`
          : `its breaker is ${breakers.blocking.get(key)?.words}`,
      state: () => ({ notClosed: breakers.told(), full: [...connections.full] }),
      close: () => breakers.close(),
    }
  },
})

/** A datagram without an answer may be all that its protocol wants. */
function verdictOf({ protocol }: Backend, result: Result): Verdict {
  if (result.outcome === 'connected') return 'good'
  const silent = protocol === 'UDP' && result.outcome === 'timeout'
  return blames(result) && !silent ? 'bad' : 'neutral'
}

/** It accepted, was asked, and reset without a word: a listener whose process is broken. */
function isEarlyClose({ reason, sent, received, ms }: Totals): boolean {
  return reason === 'backend-reset' && sent > 0 && received === 0 && ms < 1000
}
