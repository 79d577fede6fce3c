/**
 * Compares our answers with those of CoreDNS, on one API server. Every difference is listed below with its reason, and in
 * `docs/dns.md`.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { join } from 'node:path'
import dnsPacket from 'dns-packet'
import t, { type Test } from 'tap'
import { fakeUpstream, type Said, soa } from '../proxy/dns/upstream.ts'
import { startCoredns, withoutCoredns } from '../support/coredns.ts'
import { writeKubeconfig } from '../support/kube-api/kubeconfig.ts'
import { type KubeApi, startKubeApi } from '../support/kube-api/server.ts'
import { builtIn, multicluster } from '../support/kube-api/types.ts'
import { createWorld } from '../support/world.ts'

const Z = 'cluster.local'
const C = 'clusterset.local'
const types = ['A', 'AAAA', 'SRV', 'CNAME', 'TXT', 'PTR', 'MX', 'NS', 'SOA', 'UNKNOWN_65', 'CAA'] as const

/** A question, and both answers. */
interface Pair {
  readonly name: string
  readonly type: string
  readonly ours: Told
  readonly theirs: Told
}

/** The differences, with reasons. Each must occur for a name below; else remove it here and in docs/dns.md. */
const differences: readonly [why: string, (pair: Pair) => boolean][] = [
  [
    'a name that only carries others exists (RFC 8020); so does one that has another type',
    ({ name, ours, theirs }) => isNodata(ours) && theirs.rcode === 'NXDOMAIN' && carriers.test(name),
  ],
  [
    'SOA asked of a missing name is NXDOMAIN as for every other type (RFC 2308)',
    ({ type, ours, theirs }) => type === 'SOA' && isNodata(theirs) && ours.rcode === 'NXDOMAIN',
  ],
  [
    'a port has SRV records and no addresses',
    ({ name, type, ours, theirs }) =>
      /^_\w+\._(tcp|udp)\./.test(name) && isAddress(type) && isNodata(ours) && isGood(theirs),
  ],
  [
    'port and protocol are asked for with their underscores',
    ({ name, ours, theirs }) =>
      name.startsWith('http._tcp.') && ours.rcode === 'NXDOMAIN' && theirs.rcode === 'NOERROR',
  ],
  [
    'an alias is told whatever the type, and followed with it (RFC 1034 3.6.2)',
    ({ name, ours, theirs }) => /^(own|outside)\./.test(name) && ours.answers.some(isAlias) && isNodata(theirs),
  ],
  [
    'a denial of where an alias leads comes with the SOA of the other zone (RFC 2308 2.2)',
    ({ name, ours, theirs }) => name.startsWith('outside.') && ours.authority.length > theirs.authority.length,
  ],
  [
    'an alias to what is missing is NXDOMAIN, alias and all (RFC 2308 2.1)',
    ({ name, ours, theirs }) => /^(gone|lost)\./.test(name) && ours.rcode === 'NXDOMAIN' && theirs.rcode === 'NOERROR',
  ],
  [
    'an alias to itself is SERVFAIL, which nobody remembers for long',
    ({ name, ours, theirs }) => name.startsWith('ping.') && ours.rcode === 'SERVFAIL' && isNodata(theirs),
  ],
  [
    'the apex has a name server, which CoreDNS knows only when a Service leads to it',
    ({ name, type, ours }) => (type === 'NS' || name.startsWith('ns.dns.')) && isGood(ours),
  ],
  [
    'a pod has no SRV record: it has no port to tell',
    ({ name, type, theirs }) => name.includes('.pod.') && type === 'SRV' && isGood(theirs),
  ],
  [
    'nothing is below a pod',
    ({ name, ours, theirs }) =>
      name.startsWith('a.10-1-0-1.') && ours.rcode === 'NXDOMAIN' && theirs.rcode === 'NOERROR',
  ],
  [
    'names that are missing but for one type are so for all types: CoreDNS answers some with NODATA',
    ({ name, ours, theirs }) => name.includes(`.pod.${C}`) && ours.rcode === 'NXDOMAIN' && theirs.rcode === 'NOERROR',
  ],
  [
    'a reverse name exists for every type, and so does every part of one',
    ({ name, ours, theirs }) => name.endsWith('.arpa') && isNodata(ours) && theirs.rcode === 'NXDOMAIN',
  ],
  [
    'an address of the clusterset has a name (KEP-1645 2.3.3)',
    ({ name, type, ours }) => name === '99.0.96.10.in-addr.arpa' && type === 'PTR' && isGood(ours),
  ],
  [
    'the clusterset follows version 1.0.0 of its own specification (KEP-1645 2.2)',
    ({ name, type, ours }) => name === `dns-version.${C}` && type === 'TXT' && isGood(ours),
  ],
  [
    'targets are spelled as they are, owners as they were asked for',
    ({ name, ours, theirs }) => /[A-Z]/.test(name) && folded(ours) === folded(theirs),
  ],
]

const carriers = /^(_tcp\.|dns\.|ns\.dns\.|dns-version\.|default\.|quiet\.|svc\.|pod\.|cluster)/

t.test('the zones, name by name and type by type', { skip: withoutCoredns() }, async t => {
  const { ours, theirs } = await openBoth(t, 'insecure')
  const seen = new Set<string>()
  for (const name of names) {
    for (const type of types) {
      const pair = { name, type, ours: await ask(ours, name, type), theirs: await ask(theirs, name, type) }
      if (line(pair.ours) === line(pair.theirs)) continue
      const [why] = differences.find(([, holds]) => holds(pair)) ?? []
      if (why === undefined) t.equal(line(pair.ours), line(pair.theirs), `${name} ${type}`)
      else seen.add(why)
    }
  }
  t.same(
    differences.map(([why]) => why).filter(why => !seen.has(why)),
    [],
    'every difference is still one',
  )
})

t.test('the order of addresses changes from reply to reply in both', { skip: withoutCoredns() }, async t => {
  for (const port of Object.values(await openBoth(t, 'disabled', ' loadbalance'))) {
    const firsts = new Set<string>()
    for (let i = 0; i < 40; i++) firsts.add((await exchange(port, web, 'A')).answers?.map(text)[0] ?? '')
    t.equal(firsts.size, 5)
  }
})

function isNodata({ rcode, answers }: Told): boolean {
  return rcode === 'NOERROR' && answers.length === 0
}

function isGood({ rcode, answers }: Told): boolean {
  return rcode === 'NOERROR' && answers.length > 0
}

function isAddress(type: string): boolean {
  return type === 'A' || type === 'AAAA'
}

function isAlias(record: string): boolean {
  return record.includes(' CNAME ')
}

function folded(told: Told): string {
  return line(told).toLowerCase()
}

const base = `rebel-base.default.svc.${Z}`
const web = `web.default.svc.${Z}`
const names = [
  ...[
    base,
    `_http._tcp.${base}`,
    `_dns._udp.${base}`,
    `_http._udp.${base}`,
    `_nope._tcp.${base}`,
    `_tcp.${base}`,
    `http._tcp.${base}`,
  ],
  ...[`luke.${base}`, `10-1-0-2.${base}`, `10-1-0-1.${base}`, `vader.${base}`, `nobody.${base}`, `a.luke.${base}`],
  ...[`plain.default.svc.${Z}`, `_tcp.plain.default.svc.${Z}`, `empty.default.svc.${Z}`],
  ...[
    web,
    `_http._tcp.${web}`,
    `_metrics._tcp.${web}`,
    `_http._udp.${web}`,
    `_tcp.${web}`,
    `web-0.${web}`,
    `web-1.${web}`,
    `web-2.${web}`,
  ],
  ...[`10-1-1-3.${web}`, `10-1-1-1.${web}`, `fd00-1--0.${web}`, `fd00-1--.${web}`, `shared.${web}`],
  ...[
    `idle.default.svc.${Z}`,
    `early.default.svc.${Z}`,
    `early-0.early.default.svc.${Z}`,
    `bare.default.svc.${Z}`,
    `six.default.svc.${Z}`,
  ],
  ...[`lone.other.svc.${Z}`, `lone.default.svc.${Z}`, `lone.nowhere.svc.${Z}`],
  ...['own', 'outside', 'gone', 'lost', 'ping', 'number'].map(name => `${name}.default.svc.${Z}`),
  `below.own.default.svc.${Z}`,
  ...[
    `*.default.svc.${Z}`,
    `any.any.svc.${Z}`,
    `*.*.svc.${Z}`,
    `rebel-base.*.svc.${Z}`,
    `www.example.org.default.svc.${Z}`,
  ],
  ...[`www.example.org.svc.${Z}`, `www.example.org.${Z}`, `nobody.default.svc.${Z}`],
  ...[
    `default.svc.${Z}`,
    `quiet.svc.${Z}`,
    `nowhere.svc.${Z}`,
    `svc.${Z}`,
    Z,
    `dns.${Z}`,
    `ns.dns.${Z}`,
    `dns-version.${Z}`,
    `x.dns-version.${Z}`,
  ],
  ...[
    `pod.${Z}`,
    `default.pod.${Z}`,
    `nowhere.pod.${Z}`,
    `10-1-0-1.default.pod.${Z}`,
    `10-9-9-9.quiet.pod.${Z}`,
    `10-9-9-9.nowhere.pod.${Z}`,
  ],
  ...[`fd00-1--1.default.pod.${Z}`, `10-1-0.default.pod.${Z}`, `luke.default.pod.${Z}`, `a.10-1-0-1.default.pod.${Z}`],
  ...['10.0.96.10', '1.0.1.10', '2.0.1.10', '3.0.1.10', '1.1.1.10', '3.1.1.10', '99.0.96.10', '0.96.10', '10'].map(
    ip => `${ip}.in-addr.arpa`,
  ),
  `${reversed('fd000096', 'a')}.ip6.arpa`,
  `${reversed('fd000001', '0')}.ip6.arpa`,
  `${reversed('fd000096', 'f')}.ip6.arpa`,
  ...[
    `far.default.svc.${C}`,
    `_http._tcp.far.default.svc.${C}`,
    `far.default.svc.${Z}`,
    `cluster-2.far.default.svc.${C}`,
    `rebel-base.default.svc.${C}`,
  ],
  ...[`default.svc.${C}`, `nowhere.svc.${C}`, `svc.${C}`, C, `dns-version.${C}`, `10-1-0-1.default.pod.${C}`],
  ...['www.example.org', 'missing.example.org', 'REBEL-base.Default.SVC.Cluster.Local'],
]

function reversed(head: string, last: string): string {
  return [...`${head}${last.padStart(24, '0')}`].reverse().join('.')
}

async function openBoth(t: Test, pods: string, plugins = '') {
  const api = await startKubeApi({ types: [...builtIn, ...multicluster] })
  t.teardown(() => api.stop())
  fill(api)
  const upstream = await fakeUpstream(t, said)
  const clusters = [
    { name: 'cluster-1', id: 1, source: { kubernetes: { kubeconfig: './kubeconfig', context: 'cluster-1' } } },
  ]
  const dns = {
    listen: '127.0.0.1:0',
    ttl: '30s',
    pods,
    networks: ['10.0.0.0/8', 'fd00::/16'],
    upstream: [upstream.text],
  }
  const world = await createWorld(t, {
    clusters: ['cluster-1'],
    config: { clusters, dns, proxy: { services: 'all', drain: '300ms', vips: 'clusterIP' } },
  })
  writeKubeconfig(join(world.folder, 'kubeconfig'), [{ name: 'cluster-1', server: api.url }])
  const theirs = await startCoredns(
    t,
    ` kubernetes ${Z} ${C} 10.in-addr.arpa 0.0.d.f.ip6.arpa {
  endpoint ${api.url}
  pods ${pods}
  ttl 30
  multicluster ${C}
 }
 forward . ${upstream.text}
${plugins}`,
  )
  await world.start()
  const { address } = world.status().dns
  return { ours: Number(address.split(':').at(-1)), theirs }
}

function said({ name, type }: { name: string; type: string }): Said {
  if (name !== 'www.example.org') return { rcode: 3, authorities: [soa('example.org', 60, 60)] }
  if (type === 'A') return { answers: [{ type: 'A', name, data: '192.0.2.1', ttl: 60 }] }
  return { authorities: [soa('example.org', 60, 60)] }
}

function fill(api: KubeApi): void {
  for (const name of ['quiet', 'other']) api.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
  const http = { name: 'http', port: 80, protocol: 'TCP', targetPort: 8080 }
  const service = (name: string, spec: object, namespace = 'default') =>
    api.put({ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace }, spec: { type: 'ClusterIP', ...spec } })
  const virtual = (name: string, ips: string[], ports: object[], namespace?: string) =>
    service(name, { clusterIP: ips[0], clusterIPs: ips, ports }, namespace)
  const headless = (name: string, ports: object[], given: object = {}) =>
    service(name, { clusterIP: 'None', clusterIPs: ['None'], ports, ...given })
  const slice = (of: string, n: number, endpoints: object[], ports: object[], addressType = 'IPv4') =>
    api.put({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: `${of}-${n}`, namespace: 'default', labels: { 'kubernetes.io/service-name': of } },
      addressType,
      endpoints,
      ports,
    })
  const pod = (address: string, hostname?: string, ready?: boolean) => ({
    addresses: [address],
    conditions: ready === undefined ? {} : { ready },
    ...(hostname && { hostname }),
  })
  const target = { name: 'http', port: 8080, protocol: 'TCP' }

  virtual('rebel-base', ['10.96.0.10', 'fd00:96::a'], [http, { name: 'dns', port: 53, protocol: 'UDP' }])
  slice('rebel-base', 1, [pod('10.1.0.1', 'luke', true), pod('10.1.0.2'), pod('10.1.0.3', 'vader', false)], [target])
  virtual('plain', ['10.96.0.30'], [{ port: 80, protocol: 'TCP' }])
  virtual('empty', ['10.96.0.31'], [http])
  virtual('lone', ['10.96.0.32'], [http], 'other')
  headless('web', [http, { name: 'metrics', port: 9090, protocol: 'TCP' }])
  const metrics = { name: 'metrics', port: 9090, protocol: 'TCP' }
  slice('web', 1, [pod('10.1.1.1', 'web-0', true), pod('10.1.1.2', 'web-1', false)], [target, metrics])
  slice('web', 2, [pod('10.1.1.3'), pod('10.1.1.4', 'web-2'), pod('10.1.1.1', 'web-0', true)], [target, metrics])
  slice('web', 3, [pod('10.1.1.5', 'shared'), pod('10.1.1.6', 'shared')], [target])
  slice('web', 4, [pod('fd00:1::')], [target], 'IPv6')
  headless('idle', [http])
  slice('idle', 1, [pod('10.1.2.1', 'idle-0', false)], [target])
  headless('early', [http], { publishNotReadyAddresses: true })
  slice('early', 1, [pod('10.1.3.1', 'early-0', true)], [target])
  headless('bare', [])
  slice('bare', 1, [pod('10.1.4.1')], [])
  headless('six', [http])
  slice('six', 1, [pod('fd00:1::6')], [target], 'IPv6')
  const external = {
    own: base,
    outside: 'www.example.org',
    gone: `nobody.default.svc.${Z}`,
    lost: 'missing.example.org',
    ping: `ping.default.svc.${Z}`,
    number: '10.0.0.1',
  }
  for (const [name, externalName] of Object.entries(external)) service(name, { type: 'ExternalName', externalName })

  api.put({
    apiVersion: 'multicluster.x-k8s.io/v1alpha1',
    kind: 'ServiceImport',
    metadata: { name: 'far', namespace: 'default' },
    spec: { type: 'ClusterSetIP', ips: ['10.96.0.99'], ports: [{ name: 'http', port: 80, protocol: 'TCP' }] },
  })
}

let ids = 0

/** The answer of a server: records as text, sorted, since their order does not matter. */
interface Told {
  readonly rcode: string
  readonly authoritative: boolean
  readonly answers: readonly string[]
  readonly authority: readonly string[]
  readonly additional: readonly string[]
}

async function ask(port: number, name: string, type: string): Promise<Told> {
  const packet = await exchange(port, name, type)
  const of = (records: dnsPacket.Answer[] | undefined) => (records ?? []).filter(isRecord).map(text).sort()
  return {
    rcode: (packet as unknown as { rcode: string }).rcode,
    authoritative: packet.flag_aa,
    answers: of(packet.answers),
    authority: of(packet.authorities),
    additional: of(packet.additionals),
  }
}

function line({ rcode, authoritative, ...sections }: Told): string {
  return [rcode, authoritative ? 'aa' : '', ...Object.values(sections).map(records => records.join(', '))].join(' | ')
}

async function exchange(port: number, name: string, type: string): Promise<dnsPacket.DecodedPacket> {
  const socket = createSocket('udp4')
  try {
    const questions = [{ name, type: type as dnsPacket.RecordType }]
    const flags = dnsPacket.RECURSION_DESIRED
    const query = dnsPacket.encode({ type: 'query', id: ++ids & 0xffff, flags, questions, additionals: [opt] })
    socket.send(query, port, '127.0.0.1')
    const [reply] = await once(socket, 'message', { signal: AbortSignal.timeout(5000) })
    return dnsPacket.decode(reply)
  } finally {
    socket.close()
  }
}

const opt: dnsPacket.Answer = {
  type: 'OPT',
  name: '.',
  udpPayloadSize: 1232,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: 0,
  flag_do: false,
  options: [],
}

function isRecord({ type }: dnsPacket.Answer): boolean {
  return type !== 'OPT'
}

/**
 * A record as text, without what may differ: the weights of SRV, which the specification leaves open, the contact of a reverse
 * zone, and the remaining TTL of cached foreign records.
 */
function text(record: dnsPacket.Answer): string {
  const { name, type, ttl, data } = record as { name: string; type: string; ttl: number; data: unknown }
  const life = name.endsWith('example.org') ? '-' : ttl
  switch (record.type) {
    case 'SOA': {
      const { mname, rname, minimum } = record.data
      return [name, life, 'SOA', ...(name.endsWith('.arpa') ? [] : [mname, rname]), minimum].join(' ')
    }
    case 'SRV':
      return [name, life, 'SRV', record.data.priority, record.data.port, record.data.target].join(' ')
    default:
      return [name, life, type, [data].flat().map(String).join(' ')].join(' ')
  }
}
