/** Test data for plugins: services of all kinds, clients of both families, flows in every stage, all outcomes and closes. */
import type { Backend, Backends } from '../../proxy/model/backend.ts'
import type { Cluster } from '../../proxy/model/cluster.ts'
import type { Client, Flow, Result, Totals } from '../../proxy/model/flow.ts'
import type { GlobalService, Settings } from '../../proxy/model/service.ts'
import { backend, clusterService, flow, globalService } from '../support/model.ts'

export const clusters: readonly Cluster[] = [
  { name: 'cluster-1', id: 1, local: true, tenant: 'blue' },
  { name: 'cluster-2', id: 2, local: false },
  { name: 'cluster-3', id: 3, local: false, tenant: 'red' },
]

export const clients: readonly Client[] = [
  { address: '10.9.0.1', port: 40_000 },
  { address: '10.9.0.2', port: 1 },
  { address: 'fd00::1', port: 65_535 },
]

const backends: Backends = [
  backend({ address: '10.1.0.1', health: 'up', zone: 'a', node: 'n1', pod: 'web-0', hostname: 'web-0' }),
  backend({ address: '10.1.0.2', health: 'down' }),
  backend({ address: '10.1.0.3', state: 'terminating' }),
  backend({ address: '10.1.0.4', state: 'terminating', serving: false }),
  backend({ address: '10.1.0.5', state: 'maintenance', weight: 0 }),
  backend({ address: '10.2.0.1', cluster: 'cluster-2' }),
  backend({ address: '10.2.0.2', cluster: 'cluster-2', health: 'ejected', weight: 0.5 }),
  backend({ address: '10.3.0.1', cluster: 'cluster-3', ports: ['web', 'http'] }),
  backend({ address: 'fd00:3::1', cluster: 'cluster-3' }),
  backend({ address: '10.3.0.2', cluster: 'cluster-3', protocol: 'UDP' }),
]

const settingsOfServices: readonly Partial<Settings>[] = [
  {},
  { global: false, shared: false },
  { shared: false, affinity: 'local' },
  { affinity: 'remote', sessionAffinity: { timeoutMs: 1000 } },
  { clusterOrder: ['cluster-3', 'cluster-9'], minHealthyLocal: { count: 2 } },
  { affinity: 'local', minHealthyLocal: { percent: 60 }, sessionAffinity: { timeoutMs: 10_800_000 } },
]

/** For each of these settings: a service with all backends, one with none, one with a single backend, and a headless one. */
export const services: readonly GlobalService[] = settingsOfServices.flatMap((settings, i) => {
  const ports = [
    { name: '', protocol: 'TCP' as const, port: 80 },
    { name: 'dns', protocol: 'UDP' as const, port: 53 },
  ]
  const named = (kind: string, held: Backends, headless = false) => {
    const local = clusterService({
      name: `${kind}-${i}`,
      ports,
      headless,
      clusterIPs: headless ? [] : ['10.96.0.1', 'fd00:96::1'],
    })
    const members = [local, ...['cluster-2', 'cluster-3'].map(cluster => ({ ...local, cluster }))]
    return globalService({ local, members, backends: [...held], settings })
  }
  return [
    named('all', backends),
    named('none', []),
    named('one', backends.slice(0, 1)),
    named('headless', backends, true),
  ]
})

/** Flows on their first attempt, on their second, after trying all backends, and after trying one that was removed. */
export function flowsOf(service: GlobalService, client: Client): Flow[] {
  return service.frontends.flatMap(frontend => {
    const keys = frontend.backends.map(({ key }) => key)
    const histories = [[], keys.slice(0, 1), keys, ['cluster-7/10.7.0.1:80/TCP']]
    return histories.map(tried => flow(service, { client, frontend, tried }))
  })
}

/** The list that the chain would start with, in an array of its own. */
export function offered({ frontend, tried }: Flow): Backends {
  return Object.freeze(frontend.backends.filter(({ key }) => !tried.includes(key)))
}

/** A backend that is not in any list, as a flow of an older service may still have it. */
export const stranger: Backend = backend({ address: '10.7.0.1', cluster: 'cluster-7' })

export const results: readonly Result[] = [
  { outcome: 'connected', ms: 1 },
  { outcome: 'refused', ms: 1, error: new Error('ECONNREFUSED') },
  { outcome: 'timeout', ms: 1000 },
  { outcome: 'unreachable', ms: 3 },
  { outcome: 'local', ms: 0 },
  { outcome: 'cancelled', ms: 2 },
]

export const endings: readonly Totals[] = [
  { sent: 10, received: 10, ms: 50, reason: 'done' },
  { sent: 10, received: 0, ms: 5, reason: 'backend-reset' },
  { sent: 0, received: 0, ms: 3_600_000, reason: 'idle' },
  { sent: 1e9, received: 1e12, ms: 1, reason: 'removed' },
]
