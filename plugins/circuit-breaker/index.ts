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
  RecentClients,
  type Result,
} from '../../proxy/plugin.ts'
import type { BreakerOptions, DialScore } from './breaker.ts'
import { Breakers, spares } from './breakers.ts'
import { Connections } from './connections.ts'
import { blocked } from './share.ts'

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
      'A breaker also opens after this many connections in a row that the backend resets within a second, before its first byte, if as many clients had them, or all clients of the last minutes. 0 disables it.',
      { min: 0, max: 1000 },
      5,
    ),
    maxPercent: integer(
      'The maximum share of the backends of a frontend that open breakers keep flows away from, in percent, counted by pod. One may always be.',
      { min: 0, max: 100 },
      50,
    ),
    maxConnections: integer(
      'The maximum number of connections of a backend; 0 sets no limit.',
      { min: 0, max: 1_000_000 },
      0,
    ),
    whenAllOpen: oneOf(
      'What to do with a flow if the breakers of all its backends are open: `try` them anyway, or `refuse` at once.',
      ['refuse', 'try'],
      'try',
    ),
  },
  onError: 'skip',
  optionsInPlace: true,
  create: (options, host) => {
    // Narrowed lists are memoized until a breaker or a limit changes, so that later steps can memoize by their identity.
    let memo = new WeakMap<Backends, Backends>()
    let shares = new WeakMap<Backends, ReadonlySet<string>>()
    const forget = () => {
      memo = new WeakMap()
      shares = new WeakMap()
    }
    const breakers = new Breakers(breakerOptions(options), host, forget)
    const connections = new Connections(options.maxConnections, host, forget)
    const clients = new RecentClients(mostClients(options), host.clock)

    /** The backends of a frontend that open breakers keep flows away from. */
    const avoided = (all: Backends): ReadonlySet<string> => {
      const known = shares.get(all) ?? blocked(all, breakers.blocking, options.maxPercent)
      shares.set(all, known)
      return known
    }
    const spared = (key: string, client: string): boolean => {
      const breaker = breakers.blocking.get(key)
      return breaker !== undefined && spares(breaker, client)
    }
    const narrowed = (backends: Backends, isAvoided: (key: string) => boolean): Backends => {
      const free = keep(backends, ({ destination }) => !connections.full.has(destination))
      const passing = keep(free, ({ destination }) => !isAvoided(destination))
      return passing.length === 0 && options.whenAllOpen === 'try' ? free : passing
    }
    return {
      candidates: ({ tried, frontend, client: { address } }, backends) => {
        if (breakers.blocking.size === 0 && connections.full.size === 0) return backends
        const keys = avoided(frontend.backends)
        if (breakers.spare(address)) return narrowed(backends, key => keys.has(key) && !spared(key, address))
        if (tried.length > 0) return narrowed(backends, key => keys.has(key))
        const known = memo.get(backends)
        if (known !== undefined) return known
        const passing = narrowed(backends, key => keys.has(key))
        memo.set(backends, passing)
        return passing
      },
      onConnect: ({ id, client }, backend) => {
        connections.add(backend.destination)
        if (clients.add(client.address) && clients.size > 1) breakers.acquit()
        breakers.of(backend).begin(id)
      },
      onResult: ({ id }, backend, result) => {
        if (result.outcome !== 'connected') connections.remove(backend.destination)
        breakers.find(backend.destination)?.settle(id, scoreOf(backend, result))
      },
      onClose: ({ client }, { destination }, totals) => {
        connections.remove(destination)
        breakers.find(destination)?.ended(client.address, totals, clients)
      },
      onService: (_service, gone) => {
        for (const { destination } of gone) breakers.forget(destination)
      },
      why: (_flow, { destination }) =>
        connections.full.has(destination)
          ? `it has ${options.maxConnections} connections`
          : `its breaker is ${breakers.blocking.get(destination)?.description}`,
      note: ({ frontends }, { destination }) => {
        const breaker = breakers.find(destination)
        const full = connections.full.has(destination)
          ? `it has reached maxConnections (${options.maxConnections})`
          : undefined
        if (!breaker || breaker.state === 'closed') return { state: 'closed', ...(full && { detail: full }) }
        const isUsed = !breaker.passes && !frontends.some(({ backends }) => avoided(backends).has(destination))
        const over = isUsed ? `used all the same, since more than ${options.maxPercent}% would be avoided` : undefined
        const detail = [breaker.rest, breaker.why, over, full].filter(text => text !== undefined)
        return { state: breaker.state, detail: detail.join('; ') }
      },
      state: () => ({ notClosed: breakers.notClosed(), full: [...connections.full] }),
      save: () => breakers.save(),
      restore: saved => {
        for (const entry of Array.isArray(saved) ? saved : []) {
          const { backend, restMs, why } = (entry ?? {}) as Record<string, unknown>
          if (typeof backend === 'string' && typeof restMs === 'number') breakers.restore(backend, restMs, String(why))
        }
      },
      onOptions: () => {
        breakers.configure()
        connections.setLimit(options.maxConnections)
        clients.setMax(mostClients(options))
        forget()
      },
      close: () => breakers.close(),
    }
  },
})

/** As they are at each use, since a reload changes them in place. */
function breakerOptions(options: {
  readonly errorRate: number
  readonly minimum: number
  readonly window: number
  readonly rest: number
  readonly earlyClose: number
}): BreakerOptions {
  return {
    get errorRate() {
      return options.errorRate
    },
    get minimum() {
      return options.minimum
    },
    get windowMs() {
      return options.window
    },
    get restMs() {
      return options.rest
    },
    get earlyClose() {
      return options.earlyClose
    },
  }
}

function mostClients({ earlyClose }: { readonly earlyClose: number }): number {
  return Math.max(2, earlyClose)
}

/** A UDP timeout is neutral: not every protocol answers. */
function scoreOf({ protocol }: Backend, result: Result): DialScore {
  if (result.outcome === 'connected') return 'good'
  const silent = protocol === 'UDP' && result.outcome === 'timeout'
  return blames(result) && !silent ? 'bad' : 'neutral'
}
