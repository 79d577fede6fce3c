/** Views of a small mesh in which something of everything happens, at a fixed moment. */
import type { Views } from '../../../proxy/admin/views.ts'
import type { BackendView, Explanation, NameExplanation, ServiceView, Status } from '../../../proxy/model/views.ts'

export const now = Date.UTC(2027, 0, 15, 8, 0, 0)
const ago = (seconds: number) => now - seconds * 1000

export const status: Status = {
  version: '0.1.0',
  cluster: 'cluster-1',
  startedAt: ago(3 * 3600 + 720),
  now,
  ready: true,
  stopping: false,
  waiting: [],
  dns: {
    address: '127.0.0.1:5353',
    listening: true,
    domain: 'cluster.local',
    clusterset: 'clusterset.local',
  },
  components: [
    {
      name: 'Sources',
      state: 'error',
      detail: '2 of 3 clusters answer; lost: cluster-3',
    },
    {
      name: 'DNS',
      state: 'ok',
      detail: '127.0.0.1:5353 for cluster.local and clusterset.local',
    },
    {
      name: 'Proxy',
      state: 'ok',
      detail: '4 listeners, 17 connections, 2 UDP sessions',
    },
    {
      name: 'Health',
      state: 'ok',
      detail: '7 backends checked, 1 down, 1 ejected',
    },
    { name: 'Plugins', state: 'ok', detail: 'tenancy, affinity' },
  ],
  clusters: [
    {
      name: 'cluster-1',
      id: 1,
      local: true,
      source: 'manifests conf/demo/cluster-1',
      link: { state: 'live', since: ago(3 * 3600) },
      services: 5,
      globalServices: 3,
      backends: 4,
      changedAt: ago(12),
    },
    {
      name: 'cluster-2',
      id: 2,
      local: false,
      tenant: 'blue',
      source: 'kubernetes kind-2',
      link: { state: 'live', since: ago(200) },
      services: 9,
      globalServices: 2,
      backends: 3,
      changedAt: ago(95),
    },
    {
      name: 'cluster-3',
      id: 3,
      local: false,
      source: 'etcd /var/lib/cilium/clustermesh/cluster-3',
      link: {
        state: 'lost',
        since: ago(42),
        error: 'connect ECONNREFUSED 127.0.0.1:2379',
        staleAt: now + 558_000,
      },
      services: 2,
      globalServices: 1,
      backends: 2,
      changedAt: ago(7200),
    },
  ],
  plugins: [
    {
      name: 'tenancy',
      from: 'built-in',
      hooks: ['admit', 'candidates'],
      onError: 'refuse',
    },
    {
      name: 'affinity',
      from: 'built-in',
      hooks: ['candidates'],
      onError: 'skip',
      state: { services: 1 },
    },
  ],
  services: { total: 3, unreachable: 0, reduced: 1, empty: 0 },
  problems: [
    {
      severity: 'error',
      code: 'CLUSTER_LOST',
      where: 'cluster-3',
      message: 'connect ECONNREFUSED 127.0.0.1:2379',
    },
    {
      severity: 'warning',
      code: 'SERVICE_ANNOTATION',
      where: 'conf/demo/cluster-1/rebel-base.yaml:8',
      message: 'service.cilium.io/affinity: "locl" means nothing; write local, remote or none',
    },
  ],
}

const one: BackendView = {
  cluster: 'cluster-1',
  address: '127.1.0.11',
  port: 8080,
  protocol: 'TCP',
  ports: ['http'],
  state: 'active',
  health: 'up',
  selected: true,
  weight: 100,
}

const rebelBase: ServiceView = {
  namespace: 'default',
  name: 'rebel-base',
  condition: { state: 'reduced', why: '2 of 6 backends: 1 ejected, 1 down' },
  settings: { global: true, shared: true, affinity: 'none' },
  headless: false,
  frontends: [{ ip: '127.96.0.10', port: 80, protocol: 'TCP', name: 'http' }],
  backends: [
    { ...one, node: 'n1', zone: 'z1' },
    { ...one, address: '127.1.0.12', health: 'ejected', selected: false },
    { ...one, address: '127.1.0.13', state: 'terminating', selected: false },
    { ...one, cluster: 'cluster-2', address: '127.2.0.11' },
    {
      ...one,
      cluster: 'cluster-2',
      address: '127.2.0.12',
      health: 'down',
      selected: false,
    },
    { ...one, cluster: 'cluster-3', address: '127.3.0.11', health: 'unknown' },
  ],
  changedAt: ago(12),
}

const deathstar: ServiceView = {
  namespace: 'empire',
  name: 'deathstar',
  condition: { state: 'ok' },
  settings: {
    global: true,
    shared: false,
    affinity: 'local',
    minHealthyLocal: { percent: 30 },
  },
  headless: false,
  frontends: [
    { ip: '127.96.0.20', port: 443, protocol: 'TCP', name: 'https' },
    { ip: '127.96.0.20', port: 5000, protocol: 'UDP', name: 'comms' },
  ],
  backends: [
    { ...one, address: '127.1.0.21', port: 8443, ports: ['https'] },
    {
      ...one,
      cluster: 'cluster-2',
      address: '127.2.0.21',
      port: 8443,
      ports: ['https'],
      selected: false,
      weight: 20,
    },
    {
      ...one,
      cluster: 'cluster-3',
      address: '127.3.0.21',
      port: 5000,
      protocol: 'UDP',
      ports: ['comms'],
      health: 'unknown',
    },
  ],
  changedAt: ago(3600),
}

const holocron: ServiceView = {
  namespace: 'jedi',
  name: 'holocron',
  condition: { state: 'none' },
  settings: { global: true, shared: true, affinity: 'none' },
  headless: true,
  frontends: [],
  backends: [],
  changedAt: ago(90_000),
}

export const services: readonly ServiceView[] = [rebelBase, deathstar, holocron]

export const explanation: Explanation = {
  namespace: 'default',
  name: 'rebel-base',
  client: '10.0.0.7',
  before: [{ backend: 'cluster-3/127.3.0.12:8080/TCP', why: 'maintenance' }],
  frontends: [
    {
      frontend: '127.96.0.10:80/TCP',
      steps: [
        {
          step: 'tenancy',
          left: 5,
          removed: [{ backend: 'cluster-3/127.3.0.11:8080/TCP', why: 'tenant red' }],
        },
        { step: 'affinity', left: 5, removed: [] },
        {
          step: 'health',
          left: 2,
          removed: [
            { backend: 'cluster-1/127.1.0.12:8080/TCP', why: 'ejected' },
            { backend: 'cluster-1/127.1.0.13:8080/TCP', why: 'terminating' },
            { backend: 'cluster-2/127.2.0.12:8080/TCP', why: 'down' },
          ],
        },
      ],
      candidates: ['cluster-1/127.1.0.11:8080/TCP', 'cluster-2/127.2.0.11:8080/TCP'],
      decidedBy: 'round-robin',
      retries: [
        {
          attempt: 2,
          failed: 'cluster-1/127.1.0.11:8080/TCP',
          candidates: ['cluster-2/127.2.0.11:8080/TCP'],
          moved: true,
        },
        {
          attempt: 3,
          failed: 'cluster-2/127.2.0.11:8080/TCP',
          candidates: [],
          moved: false,
          refusal: { code: 'no-backend', why: 'every backend was tried (2)' },
        },
      ],
    },
  ],
}

const baseName = 'rebel-base.default.svc.cluster.local.'

export const nameExplanation: NameExplanation = {
  name: 'rebel-base',
  type: 'A',
  client: '10.0.0.7',
  rcode: 'NOERROR',
  authoritative: true,
  answers: [`rebel-base. 5 IN CNAME ${baseName}`, `${baseName} 5 IN A 127.96.0.10`],
  authority: [],
  additional: [],
  way: [
    'zone cluster.local',
    'default/rebel-base has a virtual address and 1 port; it is in cluster-1, cluster-2, cluster-3',
  ],
}

/** Views of the mesh above; a test overrides the one it is about. */
export function fixedViews(given: Partial<Views> = {}): Views {
  const find = (namespace: string, name: string) => services.find(s => s.namespace === namespace && s.name === name)
  return {
    status: () => status,
    examine: async () => {},
    services: () => services,
    service: find,
    explain: (namespace, name, from) =>
      find(namespace, name) && {
        ...explanation,
        namespace,
        name,
        client: from ?? '127.0.0.1',
      },
    addressOf: pod => (pod === 'shop/web-0' ? '10.0.0.7' : undefined),
    dns: async (name, type, from) => ({ ...nameExplanation, name, type, client: from ?? '127.0.0.1' }),
    rehearse: async () => ({ flows: 0, skipped: {}, changes: [], services: [], problems: [] }),
    config: () => ({ cluster: 'cluster-1' }),
    metrics: () => Promise.resolve('# HELP starlane_up 1\n'),
    openMetrics: () => undefined,
    ready: () => ({ ready: status.ready, stopping: status.stopping, waiting: status.waiting, unsafe: [] }),
    flows: () => [],
    traffic: () => ({ now, node: 'node-1', historyMs: 5000, services: [], clusters: [], clients: [] }),
    follow: () => () => {},
    ...given,
  }
}
