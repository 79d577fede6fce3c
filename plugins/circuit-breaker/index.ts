/** The circuit breaker: avoids backends whose dials fail, and limits the connections of each backend. */
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
import type { DialScore } from './breaker.ts'
import { Breakers } from './breakers.ts'
import { Connections } from './connections.ts'

const windowRange = { min: 1000, max: 3_600_000 }
const restRange = { min: 100, max: 86_400_000 }

export default definePlugin({
  name: 'circuit-breaker',
  options: {
    errorRate: percent('The share of failed dials that opens a breaker.', '50%'),
    minimum: integer(
      'The minimum number of dials within the window before the share counts.',
      { min: 1, max: 10_000 },
      5,
    ),
    window: duration('The time over which dials are counted.', '9s', windowRange),
    rest: duration(
      'How long an open breaker waits before it lets one flow try; up to a tenth is added.',
      '30s',
      restRange,
    ),
    earlyClose: integer(
      'A breaker also opens after this many connections in a row that the backend resets within a second, before its first byte. 0 disables it.',
      { min: 0, max: 1000 },
      5,
    ),
    maxConnections: integer(
      'The maximum number of connections of a backend; 0 sets no limit.',
      { min: 0, max: 1_000_000 },
      0,
    ),
    whenAllOpen: oneOf(
      'What to do with a flow if the breakers of all its backends are open.',
      ['refuse', 'try'],
      'refuse',
    ),
  },
  onError: 'skip',
  create: (options, host) => {
    const { errorRate, minimum, window: windowMs, rest: restMs, earlyClose, maxConnections, whenAllOpen } = options
    // Narrowed lists are memoized until a breaker or a limit changes, so that later steps can memoize by their identity.
    let memo = new WeakMap<Backends, Backends>()
    const forget = () => {
      memo = new WeakMap()
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
        const known = memo.get(backends)
        if (known !== undefined) return known
        const passing = narrowed(backends)
        memo.set(backends, passing)
        return passing
      },
      onConnect: ({ id }, { key }) => {
        connections.add(key)
        breakers.of(key).begin(id)
      },
      onResult: ({ id }, backend, result) => {
        if (result.outcome !== 'connected') connections.remove(backend.key)
        breakers.find(backend.key)?.settle(id, scoreOf(backend, result))
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
          : `its breaker is ${breakers.blocking.get(key)?.description}`,
      state: () => ({ notClosed: breakers.notClosed(), full: [...connections.full] }),
      close: () => breakers.close(),
    }
  },
})

/** A UDP timeout is neutral: not every protocol answers. */
function scoreOf({ protocol }: Backend, result: Result): DialScore {
  if (result.outcome === 'connected') return 'good'
  const silent = protocol === 'UDP' && result.outcome === 'timeout'
  return blames(result) && !silent ? 'bad' : 'neutral'
}

/** The backend accepted, got a request, and reset without an answer: its process is probably broken. */
function isEarlyClose({ reason, sent, received, ms }: Totals): boolean {
  return reason === 'backend-reset' && sent > 0 && received === 0 && ms < 1000
}
