import { type Backend, type Backends, blames, definePlugin, type Flow, integer, type Json } from '../../proxy/plugin.ts'

/** Where a client's last connection to a frontend went, and until when (monotonic) the next one goes there too. */
interface Binding {
  readonly backend: string
  readonly until: number
}

/** Bindings that status lists. */
const shown = 100

const clientRange = { min: 1, max: 1_000_000 }

/**
 * `sessionAffinity: ClientIP` of the local Service. A binding begins with the attempt, so that connections made at the same
 * moment stay together, and a failed attempt takes it back. Every new connection begins the window anew; one that lasts does
 * not prolong it. While the backend of a binding is not offered, the binding says nothing, and the next connection replaces it.
 */
export default definePlugin({
  name: 'session-affinity',
  options: {
    clients: integer(
      'How many clients are remembered, per frontend; whoever was away longest makes room.',
      clientRange,
      65_536,
    ),
  },
  onError: 'skip',
  appliesTo: ({ settings }) => settings.sessionAffinity !== undefined,
  create: ({ clients }, host) => {
    const bindings = host.table<Binding>('bindings', { max: clients })
    const kept = host.counter('kept', 'Connections that went where the one before went')
    const moved = host.counter('moved', 'Connections that could not go where the one before went')
    const byKey = index()
    const live = (flow: Flow): Binding | undefined => {
      const known = bindings.get(keyOf(flow))
      return known !== undefined && known.until > host.clock.now() ? known : undefined
    }
    return {
      pick: (flow, backends) => {
        const bound = live(flow)?.backend
        return bound === undefined ? undefined : byKey(backends).get(bound)
      },
      onConnect: (flow, { key }) => {
        const before = live(flow)
        if (before !== undefined) (before.backend === key ? kept : moved).add()
        const timeoutMs = flow.service.settings.sessionAffinity?.timeoutMs ?? 0
        bindings.set(keyOf(flow), { backend: key, until: host.clock.now() + timeoutMs })
      },
      onResult: (flow, { key }, result) => {
        if (blames(result) && bindings.get(keyOf(flow))?.backend === key) bindings.delete(keyOf(flow))
      },
      state: () => {
        const now = host.clock.now()
        const newest: Json[] = []
        for (const [client, { backend, until }] of bindings.entries()) {
          if (newest.length === shown) break
          if (until > now) newest.push({ client, backend, seconds: Math.ceil((until - now) / 1000) })
        }
        return { remembered: bindings.size, newest }
      },
    }
  },
})

/** Backends by key, for each list once: walking a long list for every connection would cost more than all the rest. */
function index(): (backends: Backends) => ReadonlyMap<string, Backend> {
  const known = new WeakMap<Backends, ReadonlyMap<string, Backend>>()
  return backends => {
    const found = known.get(backends)
    if (found !== undefined) return found
    const made = new Map(backends.map(backend => [backend.key, backend]))
    known.set(backends, made)
    return made
  }
}

/** Kubernetes keeps a client to a service IP and port; an address has no spaces. */
function keyOf({ client, frontend }: Flow): string {
  return `${client.address} ${frontend.key}`
}
