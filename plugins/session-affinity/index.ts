/** `sessionAffinity: ClientIP`: new connections of a client go to the backend of its last one. */
import { type Backend, type Backends, blames, definePlugin, type Flow, integer, type Json } from '../../proxy/plugin.ts'

/** The backend of a client's last connection to a frontend, and until when (monotonic) the next one goes there too. */
interface Binding {
  readonly backend: string
  readonly until: number
}

/** How many bindings status lists. */
const maxListed = 100

const clientRange = { min: 1, max: 1_000_000 }

/**
 * A binding starts with the attempt, so that simultaneous connections of a client stay together; a failed attempt removes it.
 * Every new connection restarts the timeout; a long connection does not extend it. A binding whose backend is not among the
 * candidates has no effect, and the next connection replaces it.
 */
export default definePlugin({
  name: 'session-affinity',
  options: {
    clients: integer(
      'The maximum number of bindings, one per client and frontend; the least recently used is evicted.',
      clientRange,
      65_536,
    ),
  },
  onError: 'skip',
  appliesTo: ({ settings }) => settings.sessionAffinity !== undefined,
  create: ({ clients }, host) => {
    const bindings = host.table<Binding>('bindings', { max: clients })
    const kept = host.counter('kept', 'Connections that went to the same backend as the previous one')
    const moved = host.counter('moved', 'Connections that could not go to the backend of the previous one')
    const byDestination = index()
    const live = (flow: Flow): Binding | undefined => {
      const known = bindings.get(keyOf(flow))
      return known !== undefined && known.until > host.clock.now() ? known : undefined
    }
    return {
      pick: (flow, backends) => {
        const bound = live(flow)?.backend
        return bound === undefined ? undefined : byDestination(backends).get(bound)
      },
      onConnect: (flow, { destination }) => {
        const before = live(flow)
        if (before !== undefined) (before.backend === destination ? kept : moved).add()
        const timeoutMs = flow.service.settings.sessionAffinity?.timeoutMs ?? 0
        bindings.set(keyOf(flow), { backend: destination, until: host.clock.now() + timeoutMs })
      },
      onResult: (flow, { destination }, result) => {
        if (blames(result) && bindings.get(keyOf(flow))?.backend === destination) bindings.delete(keyOf(flow))
      },
      save: () => {
        const now = host.clock.now()
        // The least recently used first, so that they are the first to go there too.
        const all = [...bindings.entries()].reverse()
        return all
          .filter(([, { until }]) => until > now)
          .map(([key, { backend, until }]) => [key, backend, until - now])
      },
      restore: saved => {
        for (const entry of Array.isArray(saved) ? saved : []) {
          const [key, backend, ms] = Array.isArray(entry) ? entry : []
          if (typeof key !== 'string' || typeof backend !== 'string' || typeof ms !== 'number') continue
          if (bindings.get(key) === undefined) bindings.set(key, { backend, until: host.clock.now() + ms })
        }
      },
      state: () => {
        const now = host.clock.now()
        const newest: Json[] = []
        for (const [client, { backend, until }] of bindings.entries()) {
          if (newest.length === maxListed) break
          if (until > now) newest.push({ client, backend, seconds: Math.ceil((until - now) / 1000) })
        }
        return { remembered: bindings.size, newest }
      },
    }
  },
})

/** Backends by destination, indexed once per list: a linear search for every connection would cost more than everything else. */
function index(): (backends: Backends) => ReadonlyMap<string, Backend> {
  const known = new WeakMap<Backends, ReadonlyMap<string, Backend>>()
  return backends => {
    const found = known.get(backends)
    if (found !== undefined) return found
    const made = new Map(backends.map(backend => [backend.destination, backend]))
    known.set(backends, made)
    return made
  }
}

/** As in Kubernetes, a client is bound per service IP and port. An address has no spaces. */
function keyOf({ client, frontend }: Flow): string {
  return `${client.address} ${frontend.key}`
}
