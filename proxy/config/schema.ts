/**
 * The whole configuration as one table of fields. The type, the defaults, the checks and the reference page
 * (docs/configuration.md) are derived from it; a test compares it with conf/starlane.yaml.
 */
import { familyOf } from '../model/address.ts'
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
  address,
  boundAddress,
  clusterName,
  durationOrNever,
  integerOrAuto,
  namespacePattern,
  path,
  pathOrNone,
  pluginName,
  pluginUse,
  portRange,
  present,
  type Resolve,
  raw,
  serverUrl,
  servicePattern,
  size,
  statusRange,
  withinBudget,
} from './kinds.ts'
import { oneShape, wordOr } from './shapes.ts'
import { gatewayFields, routeFields, tunnelFields } from './tunnel-fields.ts'
import { underlayFields } from './underlay-fields.ts'

/** Durations are in milliseconds, CIDRs are parsed, paths are absolute, and optional fields may be undefined. */
export type Config = Options<ReturnType<typeof schema>>
export type ClusterConfig = Config['clusters'][number]
/** Distinguished by `'manifests' in source` and so on. */
export type SourceConfig = ClusterConfig['source']
export type EtcdConfig = Extract<SourceConfig, { readonly etcd: unknown }>['etcd']

/** Raised when a file of an earlier version would mean something else. */
const formatVersion = 1

/** `resolve` makes paths absolute. */
export function schema(resolve: Resolve) {
  return {
    version: checked(
      integer('The version of this format. A Starlane that does not know it says so.', { min: 1, max: 1000 }, 1),
      version =>
        version <= formatVersion
          ? undefined
          : `${version} is newer than ${formatVersion}, which this Starlane reads; upgrade it, see docs/upgrade.md`,
    ),
    cluster: clusterName(
      'The name of the local cluster, one of `clusters`. Clients connect to the addresses of its Services.',
    ),
    clusters: list('The clusters of the mesh, in any order.', table('One cluster.', clusterFields(resolve))),
    maxConnectedClusters: checked(
      integer(
        'How many clusters the mesh may have, 255 or 511: the range of their IDs. The same in every cluster, as in Cilium.',
        { min: 255, max: 511 },
        255,
      ),
      most => (most === 255 || most === 511 ? undefined : `${most} is neither 255 nor 511`),
    ),
    clustermesh: optional(
      table(
        'Clusters that are discovered from a folder, so that they can change without a change of this file.',
        clustermeshFields(resolve),
      ),
    ),
    location: optional(
      table('Where this Starlane runs, for `trafficDistribution` and the affinity plugin.', locationFields),
    ),
    stale: table('How long a cluster that cannot be reached keeps its backends.', staleFields),
    state: optional(
      path(
        'A folder for the last known state of all clusters, with which a restart needs no control plane. Created if it is not there; private to one Starlane.',
        resolve,
      ),
    ),
    dns: table('The DNS responder.', dnsFields(resolve)),
    proxy: table('The TCP and UDP proxy.', proxyFields),
    health: table('How unhealthy backends are detected.', healthFields),
    plugins: list(
      'The plugins. All their hooks run in the order of this list.',
      table('One plugin.', pluginFields(resolve)),
      ['tenancy', 'circuit-breaker', 'affinity', 'session-affinity'].map(use => ({ use })),
    ),
    publish: optional(
      checked(
        table('Publishes the local cluster to etcd, as a cluster of a Cilium ClusterMesh.', publishFields(resolve)),
        halfCertificate,
      ),
    ),
    tunnel: table('Tunnels to the gateways of other clusters.', tunnelFields(resolve)),
    gateway: optional(
      table('The gateway of the local cluster: serves its shared services to other clusters.', gatewayFields(resolve)),
    ),
    underlay: table(
      'Devices and routes between the pods of all clusters, where no CNI joins them.',
      underlayFields(resolve),
    ),
    writeBack: table("What is written to the local cluster's Kubernetes API. By default nothing.", writeBackFields),
    admin: table('The admin API over HTTP: status, metrics and the web page.', adminFields),
    recorder: table(
      'The latest flows and DNS questions, kept in memory for `starlane observe` and `/v1/flows`.',
      recorderFields(resolve),
    ),
    log: table('The log, written to standard error.', logFields),
  } satisfies Fields
}

const allowFields = {
  loopback: optional(
    boolean(
      'Whether its endpoints may have loopback addresses, which are of the machine that Starlane runs on. By default only in the local cluster and in `manifests`.',
    ),
  ),
  cidrs: optional(
    list(
      'Where its endpoints may be: its pods, its nodes and the external addresses that it may list. By default anywhere but at an address of another cluster.',
      cidr('A range.'),
    ),
  ),
  namespaces: optional(
    list(
      'The namespaces whose services it may have, with * as a wildcard. By default all.',
      namespacePattern('A namespace.'),
    ),
  ),
  services: optional(
    list('The services that it may have, with * as a wildcard. By default all.', servicePattern('A service.')),
  ),
} satisfies Fields

function clusterFields(resolve: Resolve) {
  return {
    name: clusterName('The name of the cluster, the same as in Cilium: 1 to 32 of a-z, 0-9 and -.'),
    id: integer('The ID of the cluster, unique in the mesh and at most `maxConnectedClusters`.', { min: 1, max: 511 }),
    source: oneShape(
      'Where its services are read from: exactly one of `manifests`, `kubernetes` and `etcd`.',
      { manifests: path('A file or folder of Kubernetes YAML or JSON, watched for changes.', resolve) },
      { kubernetes: oneShape('A Kubernetes API server, watched.', ...kubernetesShapes(resolve)) },
      {
        etcd: checked(oneShape('The etcd of a Cilium ClusterMesh, watched.', ...etcdShapes(resolve)), halfCertificate),
      },
    ),
    ...routeFields,
    allow: table('What the cluster may claim.', allowFields),
    tenant: optional(text('The tenant that owns the cluster; used by the tenancy plugin.')),
    globalNamespaces: oneOf(
      'The namespaces whose services may be global: `all` but those with the annotation `clustermesh.cilium.io/global: "false"`, or only those `marked` with `"true"`, as with `clustermesh-default-global-namespace: false` in Cilium. A cluster in etcd has decided that itself.',
      ['all', 'marked'],
      'all',
    ),
    limits: table(
      'How much the cluster may take of this process. Past them it is lost, with its last known services, and the others go on.',
      limitFields,
    ),
  } satisfies Fields
}

const sizes = { min: 64 << 10, max: 64 * 2 ** 30 }

const limitFields = {
  objects: integer('The maximum number of objects, or of keys in etcd.', { min: 1, max: 10_000_000 }, 100_000),
  bytes: size('The maximum size of all of them together, as the cluster sends them.', '96MiB', sizes),
  rate: size('The maximum number of bytes a second; a cluster that sends more waits.', '32MiB', sizes),
  endpoints: integer(
    'The maximum number of endpoints, which are the backends to be checked.',
    { min: 1, max: 10_000_000 },
    120_000,
  ),
  serviceEndpoints: integer('The maximum number of endpoints of one service.', { min: 1, max: 1_000_000 }, 10_000),
} satisfies Fields

function clustermeshFields(resolve: Resolve) {
  return {
    folder: path(
      "A folder with Cilium's etcd client files, watched. Each file is a remote cluster with the name of the file; one that is also in `clusters` is taken from there.",
      resolve,
    ),
    prefer: preferred,
    allow: table('What each of these clusters may claim.', allowFields),
  } satisfies Fields
}

function kubernetesShapes(resolve: Resolve) {
  return [
    {
      kubeconfig: optional(
        path(
          'The kubeconfig file. By default the files in `KUBECONFIG`, or `~/.kube/config`, as with kubectl.',
          resolve,
        ),
      ),
      context: optional(text('A context of that file. By default its current context.')),
      renew: oneOf(
        'Where a new token is written in the second half of the life of the one in the kubeconfig, which is one of the TokenRequest API: `file`, the kubeconfig itself; `secret`, the Secret `starlane-clusters` of the local cluster. It is used without a restart.',
        ['none', 'file', 'secret'],
        'none',
      ),
    },
    { inCluster: present('Uses the service account of the Pod that Starlane runs in, instead of a kubeconfig.') },
  ] as const satisfies readonly Fields[]
}

const preferred = oneOf(
  'Whose endpoints to use where a service has both forms: `services`, as Cilium 1.20 does, or `slices`, which also have terminating endpoints.',
  ['services', 'slices'],
  'services',
)

function etcdShapes(resolve: Resolve) {
  return [
    {
      config: path("Cilium's etcd client file, such as those in `/var/lib/cilium/clustermesh`.", resolve),
      prefer: preferred,
    },
    { ...etcdServers(resolve, 'The etcd servers, instead of `config`.'), prefer: preferred },
  ] as const satisfies readonly Fields[]
}

function etcdServers(resolve: Resolve, help: string) {
  return {
    endpoints: checked(list(help, serverUrl('A server.')), servers =>
      servers.length > 0 ? undefined : 'is empty; give a server',
    ),
    ca: optional(path('The CA certificate of the servers (PEM). By default those of the system.', resolve)),
    cert: optional(path('The client certificate (PEM); needs `key`.', resolve)),
    key: optional(path('The key of the client certificate (PEM); needs `cert`.', resolve)),
  } satisfies Fields
}

function halfCertificate<T extends object>(etcd: T): string | undefined {
  const { cert, key }: { readonly cert?: unknown; readonly key?: unknown } = etcd
  const half = (cert === undefined) !== (key === undefined)
  return half ? 'has only one of `cert` and `key`; give both' : undefined
}

const locationFields = {
  node: optional(
    text(
      'The name of its node, for `internalTrafficPolicy: Local` and PreferSameNode. By default the variable `NODE_NAME`.',
    ),
  ),
  zone: optional(text('Its zone. By default the label `topology.kubernetes.io/zone` of its node.')),
  region: optional(text('Its region. By default the label `topology.kubernetes.io/region` of its node.')),
} satisfies Fields

const staleFields = {
  after: duration(
    'After this time its last known backends are demoted: new flows use them only where no other cluster has a ready one. 0 never demotes them, as Cilium does.',
    '10m',
  ),
  drop: durationOrNever(
    'After this time, counted from the loss as well, they are dropped: another pod may have their addresses by then.',
    '24h',
  ),
} satisfies Fields

const atLeast1ms = { min: 1 }

const dialFields = {
  timeout: duration('The timeout of one attempt to connect.', '1s', atLeast1ms),
  attempts: integer(
    'How many different backends are tried before the flow is refused. After two failures in a cluster the next attempt goes to another one, if plugins allow that and it has a healthy backend.',
    { min: 1, max: 10 },
    3,
  ),
  budget: duration('The timeout of all attempts together.', '5s', atLeast1ms),
} satisfies Fields

const ebpfFields = {
  listen: checked(
    list(
      'The addresses of the listeners, one of each IP family; each frontend has a port of its own there. On loopback they serve the network namespace of Starlane; for pods give addresses of the node.',
      boundAddress('An address.'),
      ['127.0.0.1', '::1'],
    ),
    addresses => {
      const families = new Set(addresses.map(familyOf))
      if (addresses.length === 0) return 'is empty; give an address'
      return families.size < addresses.length ? 'has two addresses of one IP family; give one of each' : undefined
    },
  ),
  clients: list(
    'Networks of further clients, where listeners are not on loopback. This machine and the pod network of its node are served anyway, and nobody else.',
    cidr('A network.'),
    [],
  ),
  cgroup: optional(
    text('A folder of cgroup v2: programs in this group and below are led. By default its root, which is all of them.'),
  ),
  direct: boolean(
    'Leads clients straight to backends, where no plugin has to see each flow; `starlane explain` says where, and docs/offload.md what is given up.',
    false,
  ),
  pin: pathOrNone(
    'A folder in bpffs where programs and maps are kept, so that they outlive a crash and pass to a successor. With `none`, clients are not led after a crash.',
    '/sys/fs/bpf/starlane',
  ),
} satisfies Fields

const proxyFields = {
  engine: oneOf(
    'What moves the bytes: `native` uses a thread of its own and needs Linux and a C++ compiler at installation; `streams` works everywhere. `auto` takes `native` if it was built.',
    ['auto', 'streams', 'native'],
    'auto',
  ),
  threads: integerOrAuto(
    'How many threads of the engine `native` move bytes. One accepts clients for all; each goes to the one with the fewest connections. `auto` takes one on two cores, then half of the cores, 8 at most.',
    { min: 1, max: 64 },
  ),
  vips: wordOr(
    'The addresses that clients connect to: the ClusterIPs of the local Services, addresses from a range of your own, or ports of one address.',
    'clusterIP',
    {
      cidr: cidr(
        'The range, such as 127.96.0.0/16, which needs no privileges on Linux. Services that only other clusters export get at most three quarters of it, one cluster half.',
      ),
    },
    {
      address: address('One address for all: every frontend has a port of it. For macOS, which has 127.0.0.1 alone.'),
      ports: portRange(
        'The ports for frontends whose own port is below 1024 or taken; services that only other clusters export get theirs here, of at most three quarters.',
        '30000-39999',
      ),
    },
  ),
  anyip: boolean('Makes these addresses local to this machine for as long as Starlane runs; needs NET_ADMIN.', false),
  nftables: oneOf(
    'Packet rules for these addresses. `guard` refuses whatever is not a frontend; `redirect` also moves listeners to private ports, so that they and other sockets do not take ports from each other. Both need nft and NET_ADMIN.',
    ['none', 'guard', 'redirect'],
    'none',
  ),
  offload: oneOf(
    'With `ebpf`, the kernel leads clients to their frontends, wherever they are bound: no routes, no virtual addresses and no packet rules are needed, and other clients than those of `ebpf.cgroup` are not served. Needs Linux 5.8, cgroup v2, and the capabilities BPF and NET_ADMIN.',
    ['none', 'ebpf'],
    'none',
  ),
  ebpf: table('How the kernel leads clients, with `offload: ebpf`.', ebpfFields),
  services: oneOf(
    'Which services of the local cluster are proxied: those marked global, or all.',
    ['global', 'all'],
    'global',
  ),
  serviceProxyName: text(
    'A Service with the label `service.kubernetes.io/service-proxy-name` is proxied only if it has this value, and otherwise left to the proxy it names. `*` ignores the label.',
    'starlane',
  ),
  balancer: oneOf(
    'Who has the last word among equal backends. `maglev` keeps a client with its backend without remembering it.',
    ['round-robin', 'least-connections', 'maglev', 'random'],
    'round-robin',
  ),
  dial: withinBudget(table('How a connection to a backend is made.', dialFields)),
  idle: table('How long a flow without traffic is kept.', {
    tcp: duration('A TCP connection.', '1h', atLeast1ms),
    halfClosed: duration('A TCP connection that only one side has closed.', '1h', atLeast1ms),
    udp: duration('A UDP session.', '60s', atLeast1ms),
  }),
  drain: duration(
    'How long flows may continue after their backend has left (no list names it) or Starlane is told to stop. 0 closes them at once. A backend that is listed, even if not ready or terminating, keeps its flows.',
    '30s',
  ),
  announce: duration(
    'How long Starlane goes on accepting flows after it was told to stop, while `/readyz` already says that it is not ready. Others need that time to learn it: kube-proxy, load balancers. Then `drain` begins.',
    '0',
  ),
  unlisted: duration(
    "How long TCP connections may continue on a backend that a list without conditions (Cilium's service records in etcd) no longer names; then `drain` begins. Such lists also omit backends that are only not ready.",
    '24h',
  ),
  limits: table(
    'The maximum number of flows at a time. At the limit each client gets its share: a newcomer takes the place of the idlest flow of the client that holds most, or is refused.',
    {
      connections: integer('The maximum number of TCP connections.', { min: 1, max: 1_000_000 }, 10_000),
      udpSessions: integer('The maximum number of UDP sessions.', { min: 1, max: 1_000_000 }, 10_000),
      perFrontend: integer(
        'The part of both that the flows of one frontend may take, in percent.',
        { min: 1, max: 100 },
        100,
      ),
    },
  ),
} satisfies Fields

const passiveFields = {
  consecutive: integer(
    'A backend is ejected after this many failed attempts to connect in a row, or resets before its first byte if as many clients had them, or all clients of the last minutes. 0 disables ejection.',
    { min: 0, max: 1000 },
    5,
  ),
  firstByte: duration(
    'A connection counts like such a reset, but is not cut, if its client has sent something and the backend nothing for this long: its process may stand still. 0 turns this off.',
    '0',
    { max: 3_600_000 },
  ),
  eject: duration(
    'How long the first ejection lasts. The second in a row lasts twice as long, the third three times, and so on.',
    '30s',
    atLeast1ms,
  ),
  maxEject: duration('The maximum duration of an ejection.', '300s', atLeast1ms),
  maxPercent: integer(
    "The maximum share of a frontend's backends that may be ejected at a time, in percent, counted by pod where it is known. One may always be.",
    { min: 0, max: 100 },
    50,
  ),
} satisfies Fields

const healthFields = {
  active: table('Health checks that Starlane sends to every backend.', {
    interval: duration('The time between two checks of a backend.', '2s', { min: 100 }),
    relax: integer(
      'While a backend passes its checks, the time between them grows to at most this many intervals; at the first failure it is one again. 1 turns this off.',
      { min: 1, max: 100 },
      4,
    ),
    traffic: boolean(
      'Whether a TCP check is left out if a client was connected to the backend, or got bytes from it, within the interval.',
      true,
    ),
    timeout: duration('The timeout of a check.', '1s', atLeast1ms),
    rise: integer('A backend is up after this many successful checks in a row.', { min: 1, max: 100 }, 2),
    fall: integer('A backend is down after this many failed checks in a row.', { min: 1, max: 100 }, 3),
    type: oneOf('`tcp` connects, `http` sends a GET request, `none` disables checks.', ['tcp', 'http', 'none'], 'tcp'),
    cutOnTimeout: boolean(
      'Whether connections to a backend are reset once it is down because nothing answers its checks, as when its host has died.',
      true,
    ),
    path: checked(text('The path of an HTTP check.', '/'), asked =>
      /^\/[!-~]*$/.test(asked) ? undefined : `${shown(asked)} is not a URL path; write /healthz`,
    ),
    status: statusRange('The status codes that pass an HTTP check.', '200-299'),
  }),
  passive: checked(table('Ejection of backends that fail for live traffic.', passiveFields), ({ eject, maxEject }) =>
    eject > maxEject ? `eject (${durationText(eject)}) is longer than maxEject (${durationText(maxEject)})` : undefined,
  ),
} satisfies Fields

function pluginFields(resolve: Resolve) {
  return {
    use: pluginUse('A built-in plugin by name, a file (`./my-plugin.js`) or a package (`npm:NAME`).', resolve),
    as: optional(
      pluginName('The name of this instance in status, metrics and refusals. Needed if a plugin is used twice.'),
    ),
    options: raw('The options of the plugin; its README lists them.'),
  } satisfies Fields
}

function publishFields(resolve: Resolve) {
  return {
    ...etcdServers(resolve, 'The etcd servers to write to. The other clusters read this cluster from there.'),
    slices: boolean('Whether to write endpoint slices too, which Cilium reads since 1.20.', false),
    lease: duration('How long the data stays in etcd after the last Starlane of this cluster has stopped.', '15m', {
      min: 60_000,
      max: 24 * 3_600_000,
    }),
    rate: integer(
      'The maximum number of requests to etcd per second, each with up to 100 keys.',
      { min: 1, max: 1000 },
      20,
    ),
    tenants: record(
      'What each tenant may read: a list of services of the local cluster, published as a cluster named CLUSTER--TENANT.',
      list('The services.', servicePattern('A pattern of services.')),
      {},
    ),
    cache: boolean(
      'Whether to copy the clusters that are read from another etcd into this one, for many local readers (KVStoreMesh).',
      false,
    ),
  } satisfies Fields
}

const writeBackFields = {
  endpointSlices: boolean(
    'Write EndpointSlices with the remote endpoints of Services annotated with `service.cilium.io/global-sync-endpoint-slices`, for controllers that read EndpointSlices.',
    false,
  ),
  serviceImports: boolean('Write ServiceImports and the status of ServiceExports (Multi-Cluster Services API).', false),
  derivedServices: boolean(
    'Write a derived Service for each ServiceImport, as Cilium does; its ClusterIP is the address in the clusterset. Needs `serviceImports`.',
    false,
  ),
  events: boolean('Write Events on local Services with invalid annotations.', false),
  namespace: text('The namespace of the Lease that elects the replica that writes.', 'starlane'),
} satisfies Fields

const adminFields = {
  listen: endpoint('The address to listen on. There is no authentication: use a loopback address.', '127.0.0.1:9911'),
  metrics: optional(
    endpoint(
      'A second address that serves only `/metrics`, `/healthz` and `/readyz`, for Prometheus and for probes of a kubelet, which do not reach a loopback address of a Pod. By default there is none.',
    ),
  ),
  exemplars: boolean(
    'Whether metrics have exemplars, for Prometheus with `--enable-feature=exemplar-storage`: for each bucket of dial times the client, service and backend of a recent flow, which `starlane observe` finds. Who asks for OpenMetrics gets it then.',
    false,
  ),
} satisfies Fields

function recorderFields(resolve: Resolve) {
  return {
    size: integer(
      'How many flows are kept, and as many DNS questions; rounded up to a power of two. Each takes at most 200 bytes. 0 records nothing.',
      { min: 0, max: 4_194_304 },
      16_384,
    ),
    rate: integer(
      'How many flows are recorded per second, and as many DNS questions. Beyond it one in 16 is recorded, and the others are counted as lost.',
      { min: 10, max: 1_000_000 },
      10_000,
    ),
    dns: boolean('Whether DNS questions are recorded.', true),
    file: optional(
      table('Writes what is recorded to a file too, as JSON lines.', {
        path: path('The file. When it is full it becomes FILE.1, the one before FILE.2, and so on.', resolve),
        maxSize: size('The size at which the file is full.', '64MiB', { min: 1 << 16, max: 2 ** 33 }),
        keep: integer('How many full files are kept.', { min: 0, max: 100 }, 4),
      }),
    ),
  } satisfies Fields
}

const logFields = {
  level: oneOf('The minimum level of log lines.', ['debug', 'info', 'warn', 'error'], 'info'),
  format: oneOf('`auto` is pretty on a terminal and JSON otherwise.', ['auto', 'pretty', 'json'], 'auto'),
} satisfies Fields
