/**
 * The whole configuration as one table of fields: from it come the type, the defaults, the checks, the reference page
 * (docs/configuration.md) and the test that conf/starlane.yaml leaves nothing out.
 */
import { durationText } from '../model/text/duration.ts'
import { dnsFields } from './dns-fields.ts'
import {
  boolean,
  checked,
  cidr,
  duration,
  endpoint,
  type Fields,
  integer,
  list,
  type Options,
  oneOf,
  optional,
  record,
  shown,
  table,
  text,
} from './fields.ts'
import {
  clusterName,
  path,
  pluginName,
  pluginUse,
  present,
  type Resolve,
  raw,
  serverUrl,
  servicePattern,
  statusRange,
  withinBudget,
} from './kinds.ts'
import { oneShape, wordOr } from './shapes.ts'

/** Durations are milliseconds, CIDRs are parsed, paths are absolute. What may be left out is undefined then. */
export type Config = Options<ReturnType<typeof schema>>
export type ClusterConfig = Config['clusters'][number]
/** Told apart by `'manifests' in source` and the like. */
export type SourceConfig = ClusterConfig['source']
export type EtcdConfig = Extract<SourceConfig, { readonly etcd: unknown }>['etcd']
export type PluginUse = Config['plugins'][number]

/** `resolve` makes the paths absolute; for the reference page, which has no file, any function does. */
export function schema(resolve: Resolve) {
  return {
    cluster: clusterName(
      'The local cluster, by its name in `clusters`. Its Services are the frontends that clients reach.',
    ),
    clusters: list('The clusters of the mesh, in any order.', table('One cluster.', clusterFields(resolve))),
    clustermesh: optional(
      table('Clusters that come and go without a change of this file.', clustermeshFields(resolve)),
    ),
    stale: table('What becomes of a cluster that no longer answers.', staleFields),
    dns: table('The DNS responder.', dnsFields(resolve)),
    proxy: table('The TCP and UDP proxy.', proxyFields),
    health: table('How backends are found to be unfit.', healthFields),
    plugins: list(
      'The plugins. The order of the list is the order of every hook.',
      table('One plugin.', pluginFields(resolve)),
      ['tenancy', 'circuit-breaker', 'affinity', 'session-affinity'].map(use => ({ use })),
    ),
    publish: optional(
      checked(
        table('Makes the local cluster one of a Cilium ClusterMesh that is kept in etcd.', publishFields(resolve)),
        halfCertificate,
      ),
    ),
    writeBack: table("What is written to the local cluster's API; nothing unless asked for.", writeBackFields),
    admin: table('The admin surface: status, metrics and the web page.', adminFields),
    log: table('The log, on standard error.', logFields),
  } satisfies Fields
}

function clusterFields(resolve: Resolve) {
  return {
    name: clusterName('Its name: 1 to 32 of a-z, 0-9 and -, the same that the cluster has for Cilium.'),
    id: integer('Its number, unique in the mesh.', { min: 1, max: 255 }),
    source: oneShape(
      'Where its services come from: exactly one of `manifests`, `kubernetes` and `etcd`.',
      { manifests: path('A file or folder of Kubernetes YAML or JSON, watched for changes.', resolve) },
      { kubernetes: oneShape('A Kubernetes API server, watched.', ...kubernetesShapes(resolve)) },
      {
        etcd: checked(oneShape('The etcd of a Cilium ClusterMesh, watched.', ...etcdShapes(resolve)), halfCertificate),
      },
    ),
    tenant: optional(text('Whom the cluster belongs to; the tenancy plugin keeps tenants apart.')),
  } satisfies Fields
}

function clustermeshFields(resolve: Resolve) {
  return {
    folder: path(
      "A folder of Cilium's client files, watched: each is a remote cluster of the file's name. Those in `clusters` come first.",
      resolve,
    ),
    prefer: preferred,
  } satisfies Fields
}

function kubernetesShapes(resolve: Resolve) {
  return [
    {
      kubeconfig: optional(
        path('The kubeconfig file; without it those of `KUBECONFIG`, or `~/.kube/config`, as for kubectl.', resolve),
      ),
      context: optional(text('A context of that file; without it the current one.')),
    },
    { inCluster: present("Uses the service account of the Pod that Starlane runs in; takes the kubeconfig's place.") },
  ] as const satisfies readonly Fields[]
}

const preferred = oneOf(
  'What is read where a cluster writes both: `services` as Cilium 1.20 does, or `slices`, which tell of endpoints that end.',
  ['services', 'slices'],
  'services',
)

function etcdShapes(resolve: Resolve) {
  return [
    { config: path("Cilium's own client file, as in `/var/lib/cilium/clustermesh`.", resolve), prefer: preferred },
    { ...etcdServers(resolve, 'The servers; takes the place of `config`.'), prefer: preferred },
  ] as const satisfies readonly Fields[]
}

function etcdServers(resolve: Resolve, help: string) {
  return {
    endpoints: checked(list(help, serverUrl('A server.')), servers =>
      servers.length > 0 ? undefined : 'is empty; name a server',
    ),
    ca: optional(path('The certificate authority of the servers (PEM); without it those of the system.', resolve)),
    cert: optional(path('The client certificate (PEM), together with `key`.', resolve)),
    key: optional(path('The key of the client certificate (PEM), together with `cert`.', resolve)),
  } satisfies Fields
}

function halfCertificate<T extends object>(etcd: T): string | undefined {
  const { cert, key }: { readonly cert?: unknown; readonly key?: unknown } = etcd
  const half = (cert === undefined) !== (key === undefined)
  return half ? 'gives one of `cert` and `key` alone; each needs the other' : undefined
}

const staleFields = {
  after: duration(
    'How long its last known backends stay. 0 keeps them for ever, as Cilium does unless told otherwise.',
    '10m',
  ),
} satisfies Fields

const atLeast1ms = { min: 1 }

const dialFields = {
  timeout: duration('How long one backend may take to accept.', '1s', atLeast1ms),
  attempts: integer(
    'How many backends are tried, each another one, before the client is turned away.',
    { min: 1, max: 10 },
    3,
  ),
  budget: duration('How long all attempts together may take.', '5s', atLeast1ms),
} satisfies Fields

const proxyFields = {
  engine: oneOf(
    'What carries the bytes: `native`, on a thread of its own, wants Linux and a C++ compiler at installation; `streams` works everywhere. `auto` is `native` where it was built.',
    ['auto', 'streams', 'native'],
    'auto',
  ),
  vips: wordOr(
    'The addresses that clients dial: the ClusterIPs of the local Services, or addresses of a range of your own.',
    'clusterIP',
    { cidr: cidr('A range to take them from, such as 127.96.0.0/16, which needs no privileges on Linux.') },
  ),
  anyip: boolean('Makes these addresses local to this machine for as long as Starlane runs; needs NET_ADMIN.', false),
  services: oneOf(
    'Which services of the local cluster are proxied: those marked global, or all.',
    ['global', 'all'],
    'global',
  ),
  balancer: oneOf(
    'Who has the last word among equal backends. `maglev` keeps a client with its backend without remembering it.',
    ['round-robin', 'least-connections', 'maglev', 'random'],
    'round-robin',
  ),
  dial: withinBudget(table('How a connection to a backend is made.', dialFields)),
  idle: table('When a silent flow is given up.', {
    tcp: duration('A TCP connection on which no byte moves.', '1h', atLeast1ms),
    halfClosed: duration('A TCP connection that one side has ended and the other has not.', '60s', atLeast1ms),
    udp: duration('A UDP session on which no datagram moves.', '60s', atLeast1ms),
  }),
  drain: duration('How long flows may go on when their backend leaves or Starlane stops. 0 cuts them at once.', '30s'),
  limits: table('How much is carried at a time; beyond it new flows are refused.', {
    connections: integer('TCP connections.', { min: 1, max: 1_000_000 }, 10_000),
    udpSessions: integer('UDP sessions.', { min: 1, max: 1_000_000 }, 10_000),
  }),
} satisfies Fields

const passiveFields = {
  consecutive: integer(
    'So many failed connections in a row and it is ejected. 0 ejects nobody.',
    { min: 0, max: 1000 },
    5,
  ),
  eject: duration(
    'How long the first time; twice as long the second time, three times the third, and so on.',
    '30s',
    atLeast1ms,
  ),
  maxEject: duration('How long at most.', '300s', atLeast1ms),
  maxPercent: integer(
    "How much of a frontend's backends may be ejected at a time, in percent; one always may.",
    { min: 0, max: 100 },
    50,
  ),
} satisfies Fields

const healthFields = {
  active: table('Checks that Starlane makes by itself, of every backend.', {
    interval: duration('From one check of a backend to the next.', '2s', { min: 100 }),
    timeout: duration('A check that takes longer has failed.', '1s', atLeast1ms),
    rise: integer('So many good checks in a row and a backend is up.', { min: 1, max: 100 }, 2),
    fall: integer('So many bad checks in a row and a backend is down.', { min: 1, max: 100 }, 3),
    type: oneOf('A connection, a GET request, or no checks at all.', ['tcp', 'http', 'none'], 'tcp'),
    path: checked(text('What an http check asks for.', '/'), asked =>
      /^\/[!-~]*$/.test(asked) ? undefined : `${shown(asked)} is no path of a URL; write /healthz`,
    ),
    status: statusRange('What an http check takes for a good answer.', '200-299'),
  }),
  passive: checked(table('What the traffic itself says of a backend.', passiveFields), ({ eject, maxEject }) =>
    eject > maxEject ? `eject (${durationText(eject)}) is longer than maxEject (${durationText(maxEject)})` : undefined,
  ),
} satisfies Fields

function pluginFields(resolve: Resolve) {
  return {
    use: pluginUse('A built-in plugin by name, a file (`./my-plugin.js`) or a package (`npm:NAME`).', resolve),
    as: optional(pluginName('Its name in status, metrics and refusals, where one plugin is used twice.')),
    options: raw("The plugin's own options; its README lists them."),
  } satisfies Fields
}

function publishFields(resolve: Resolve) {
  return {
    ...etcdServers(resolve, 'The etcd servers that the other clusters read this one from; the user may write.'),
    slices: boolean('Also writes endpoint slices, which Cilium reads from 1.20 on.', false),
    lease: duration('How long everything stays there when no Starlane of this cluster is left.', '15m', {
      min: 60_000,
      max: 24 * 3_600_000,
    }),
    rate: integer('Requests to etcd in a second, each with up to 100 keys.', { min: 1, max: 1000 }, 20),
    tenants: record(
      'What each tenant may read: services of the local cluster, as a cluster of their own named CLUSTER--TENANT.',
      list('The services.', servicePattern('Services.')),
      {},
    ),
    cache: boolean(
      'Also copies the clusters that are read from an etcd to this one, for many readers here (KVStoreMesh).',
      false,
    ),
  } satisfies Fields
}

const writeBackFields = {
  endpointSlices: boolean(
    'EndpointSlices of remote endpoints, for controllers that read nothing else, of Services that ask for it (`service.cilium.io/global-sync-endpoint-slices`).',
    false,
  ),
  serviceImports: boolean('ServiceImports, and the status of ServiceExports (Multi-Cluster Services API).', false),
  derivedServices: boolean(
    'A Service for each ServiceImport, as Cilium makes one: its ClusterIP is the address in the clusterset. Needs `serviceImports`.',
    false,
  ),
  events: boolean('Events on local Services whose annotations mean nothing.', false),
  namespace: text('Where the lease is that lets one of several replicas write.', 'starlane'),
} satisfies Fields

const adminFields = {
  listen: endpoint('Where it listens. It asks for no password: keep it on this machine.', '127.0.0.1:9911'),
} satisfies Fields

const logFields = {
  level: oneOf('The least important lines that are written.', ['debug', 'info', 'warn', 'error'], 'info'),
  format: oneOf(
    'For people, for machines, or `auto`: pretty on a terminal and JSON otherwise.',
    ['auto', 'pretty', 'json'],
    'auto',
  ),
} satisfies Fields
