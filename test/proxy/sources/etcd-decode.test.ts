/** Decoding of Cilium's etcd records, and of protobuf. */
import { zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { sliceMessage } from '../../../proxy/clients/clustermesh.ts'
import { decodeClusterConfig } from '../../../proxy/clients/etcd/cluster-config.ts'
import {
  binary,
  bytes,
  dictionary,
  flag,
  id,
  int,
  many,
  maybe,
  message,
  nested,
  text,
  texts,
} from '../../../proxy/clients/etcd/protobuf.ts'
import { derivedServiceName } from '../../../proxy/model/multicluster.ts'
import { decodeNode, decodeServiceExport } from '../../../proxy/sources/etcd/decode-cilium.ts'
import { decodeSlice } from '../../../proxy/sources/etcd/decode-slices.ts'
import { assembled } from '../../support/etcd/assembled.ts'
import { configValue, serviceValue, sliceEndpoint, sliceValue } from '../../support/etcd/cilium.ts'
import { decodeService } from '../../support/etcd/decoded.ts'

const east = { cluster: 'east', clusterId: 7 }
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))

t.test('the cluster-config', async t => {
  t.same(
    decodeClusterConfig(
      json({
        id: 7,
        capabilities: {
          syncedCanaries: true,
          cached: true,
          maxConnectedClusters: 511,
          serviceExportsEnabled: false,
          endpointSlicesExportMode: 'services-and-endpointslices',
          somethingNew: 1,
        },
      }),
    ),
    {
      id: 7,
      syncedCanaries: true,
      cached: true,
      maxConnectedClusters: 511,
      serviceExports: false,
      slicesMode: 'services-and-endpointslices',
      gateways: [],
    },
  )
  for (const short of [{ id: 3 }, { id: 3, capabilities: {} }, { id: 3, capabilities: null }]) {
    t.same(decodeClusterConfig(json(short)), {
      id: 3,
      syncedCanaries: false,
      cached: false,
      maxConnectedClusters: 255,
      serviceExports: undefined,
      slicesMode: '',
      gateways: [],
    })
  }
  const refused: [value: Buffer, why: RegExp][] = [
    [json({}), /^id: /],
    [json({ id: 0 }), /^id: /],
    [json({ id: 512 }), /^id: /],
    [json({ id: 1.5 }), /^id: /],
    [json({ id: '7' }), /^id: /],
    [configValue(7, { maxConnectedClusters: 300 }), /maxConnectedClusters/],
    [configValue(7, { endpointSlicesExportMode: 'other' }), /endpointSlicesExportMode/],
    [Buffer.from('{'), /is not JSON/],
    [json(null), /the record/],
    // Refused before it is parsed: it is no JSON either.
    [Buffer.from('[]'.repeat(30_001)), /has more than 30000 fields/],
  ]
  for (const [value, why] of refused)
    t.throws(() => decodeClusterConfig(value), { code: 'SOURCE_OBJECT', message: why })
})

t.test('a service, as Cilium 1.20 writes it', async t => {
  t.same(assembled('east', ...decodeService('shop/cart', serviceValue(), east))[0], {
    cluster: 'east',
    readyOnly: true,
    namespace: 'shop',
    name: 'cart',
    type: 'ClusterIP',
    headless: false,
    clusterIPs: ['10.96.14.7'],
    ports: [
      { name: 'http', protocol: 'TCP', port: 80 },
      { name: 'dns', protocol: 'UDP', port: 53 },
    ],
    annotations: { 'service.cilium.io/global': 'true', 'service.cilium.io/shared': 'true' },
    labels: { app: 'cart' },
    publishNotReadyAddresses: false,
    internalTrafficPolicy: 'Cluster',
    origin: 'etcd',
    endpoints: [
      {
        address: '10.11.3.21',
        ports: [
          { name: 'http', protocol: 'TCP', port: 8080 },
          { name: 'dns', protocol: 'UDP', port: 5353 },
        ],
        ready: true,
        serving: true,
        terminating: false,
        hostname: 'cart-0',
        zone: 'eu-1a',
        forZones: ['eu-1a'],
      },
      {
        address: '10.11.4.9',
        ports: [
          { name: 'http', protocol: 'TCP', port: 8080 },
          { name: 'dns', protocol: 'UDP', port: 5353 },
        ],
        ready: true,
        serving: true,
        terminating: false,
        zone: 'eu-1b',
        forZones: ['eu-1b'],
      },
    ],
  })

  t.test('absent, null and unusual fields', async t => {
    const decode = (changes: object) =>
      assembled('east', ...decodeService('shop/cart', serviceValue(changes as Record<string, unknown>), east))[0]
    t.match(decode({ backends: {}, zones: null, hostnames: null, labels: null }), { endpoints: [], labels: {} })
    t.match(decode({ frontends: null }), { headless: true, clusterIPs: [], ports: [] })
    t.equal(
      decode({ frontends: { '': {} }, backends: {} }),
      undefined,
      'a global ExternalName Service as Cilium writes it: nothing to reach, and no problem',
    )
    t.equal(decode({ shared: false }), undefined, 'not shared is as good as gone')
    t.equal(decode({ shared: undefined }), undefined)
    t.match(decode({ backends: { '10.0.0.1': { '': { Protocol: 'TCP', Port: 1 } } } })?.endpoints, [
      { address: '10.0.0.1', ports: [{ name: '', protocol: 'TCP', port: 1 }] },
    ])
    const twice = {
      '10.0.0.1': { a: { Protocol: 'TCP', Port: 1 } },
      '::ffff:10.0.0.1': { b: { Protocol: 'TCP', Port: 1 } },
    }
    t.match(decode({ backends: twice })?.endpoints, [{ address: '10.0.0.1', ports: [{ name: 'a' }, { name: 'b' }] }])
    const useless = {
      '10.0.0.1': { a: { Protocol: 'ICMPv4', Port: 1 }, b: { Protocol: 'UDP', Port: 0 } },
      'fd00::1': null,
    }
    t.match(decode({ backends: useless })?.endpoints, [
      { address: '10.0.0.1', ports: [] },
      { address: 'fd00::1', ports: [] },
    ])
  })

  t.test('what is refused', async t => {
    const port = { http: { Protocol: 'TCP', Port: 80 } }
    const refused: [changes: Record<string, unknown>, why: RegExp, suffix?: string][] = [
      [{ cluster: 'west' }, /cluster "west", its key says "east"/],
      [{ clusterID: 8 }, /clusterID 8, its key says 7/],
      [{ clusterID: 0 }, /^clusterID: /],
      [{ clusterID: 512 }, /^clusterID: /],
      [{ name: 'other' }, /name "shop\/other", its key says "shop\/cart"/],
      [{}, /its key says "shop\/cart\/x"/, 'shop/cart/x'],
      [{ name: '' }, /not a Kubernetes name/],
      [{ namespace: 'a/b' }, /^namespace: "a\/b" is not a Kubernetes name/],
      [{ name: '../x' }, /not a Kubernetes name/],
      [{ backends: { 'fe80::1%eth0': port } }, /"fe80::1%eth0" is not an IP address/],
      [{ frontends: { 'host.example': port } }, /is not an IP address/],
      [{ hostnames: { x: 'y' } }, /is not an IP address/],
      [{ backends: { '10.0.0.1': { http: { Protocol: 'TCP', Port: 65536 } } } }, /^backends.*Port/],
      [{ backends: [port] }, /"0" is not an IP address/],
      [{ shared: 'yes' }, /^shared: /],
    ]
    for (const [changes, why, suffix = 'shop/cart'] of refused) {
      t.throws(() => decodeService(suffix, serviceValue(changes), east), { code: 'SOURCE_OBJECT', message: why })
    }
  })
})

t.test('an endpoint slice', async t => {
  // Written out by hand, so that no mistake of the reader is repeated by a writer of its own.
  const field = (number: number, ...content: (number | string)[]): number[] => {
    const body = content.flatMap(part => (typeof part === 'number' ? [part] : [...Buffer.from(part)]))
    return [number * 8 + 2, body.length, ...body]
  }
  const frame = Buffer.from([
    ...field(1, 'east'),
    ...[2 * 8, 7],
    ...field(3, 'shop'),
    ...field(4, 'cart-abc'),
    ...field(5, ...field(1, 'kubernetes.io/service-name'), ...field(2, 'cart')),
    ...field(6, ...field(1, 'service.cilium.io/weight'), ...field(2, '50')),
    ...field(7, 'IPv4'),
    ...field(
      8,
      ...field(1, '10.11.3.21'),
      ...field(2, 1 * 8, 0, 2 * 8, 1, 3 * 8, 1),
      ...field(3, 'cart-0'),
      ...field(5, 'skipped'),
      ...field(6, 'n1'),
      ...field(7, 'eu-1a'),
      ...field(8, ...field(1, ...field(1, 'eu-1a'))),
    ),
    ...field(8, ...field(1, '10.11.4.9')),
    ...field(9, ...field(1, 'http'), ...field(2, 'TCP'), 3 * 8, 0x90, 0x3f),
  ])
  const ports = [{ name: 'http', protocol: 'TCP', port: 8080 }]
  t.match(decodeSlice('shop/cart-abc', zstdCompressSync(frame), east), {
    kind: 'EndpointSlice',
    namespace: 'shop',
    name: 'cart-abc',
    service: 'shop/cart',
    implied: { spec: { headless: false, clusterIPs: [], labels: { 'kubernetes.io/service-name': 'cart' } }, ports },
    endpoints: [
      {
        address: '10.11.3.21',
        ports,
        ready: false,
        serving: true,
        terminating: true,
        hostname: 'cart-0',
        node: 'n1',
        zone: 'eu-1a',
        forZones: ['eu-1a'],
        weight: 50,
      },
      { address: '10.11.4.9', ports, ready: true, serving: true, terminating: false, weight: 50 },
    ],
  })

  t.test('nil conditions mean the same as in Kubernetes and Cilium: serving unless false', async t => {
    const cases: [given: (boolean | undefined)[], means: object][] = [
      [[], { ready: true, serving: true, terminating: false }],
      [[false], { ready: false, serving: true, terminating: false }],
      [[true, false], { ready: true, serving: false, terminating: false }],
      [[false, true, true], { ready: false, serving: true, terminating: true }],
      [[undefined, undefined, true], { ready: true, serving: true, terminating: true }],
    ]
    for (const [[ready, serving, terminating], means] of cases) {
      const endpoints = [sliceEndpoint('10.0.0.1', { conditions: { ready, serving, terminating } })]
      t.match(decodeSlice('shop/cart-x7k2p', sliceValue({ endpoints }), east).endpoints, [means])
    }
  })

  t.test('what is refused', async t => {
    const refused: [value: Buffer, why: RegExp][] = [
      [sliceValue({ cluster: 'west' }), /cluster "west"/],
      [sliceValue({ clusterId: 8 }), /clusterID 8/],
      [sliceValue({ clusterId: 0 }), /^clusterID: /],
      [sliceValue({ name: 'x' }), /name "shop\/x"/],
      [sliceValue({ labels: new Map() }), /not a Kubernetes name/],
      [sliceValue({ addressType: 'FQDN' }), /addresses of type "FQDN"/],
      [sliceValue({ endpoints: [sliceEndpoint('host')] }), /"host" is not an IP address/],
      [Buffer.from('plain'), /./],
      [zstdCompressSync(Buffer.alloc(17 * 1024 * 1024)), /./],
      [zstdCompressSync(Buffer.from([0x0a, 0xff])), /ends in the middle/],
    ]
    for (const [value, why] of refused) t.throws(() => decodeSlice('shop/cart-x7k2p', value, east), { message: why })
  })

  t.test('several slices make one service', async t => {
    const slice = (changes: Parameters<typeof sliceValue>[0], name = 'cart-1') =>
      decodeSlice(`shop/${name}`, sliceValue({ name, ...changes }), east)
    const leaving = { ready: false, serving: true, terminating: true }
    const dns = { endpoints: [sliceEndpoint('10.0.0.1')], ports: [{ name: 'dns', protocol: 'UDP', port: 53 }] }
    const [service] = assembled(
      'east',
      slice({ endpoints: [sliceEndpoint('10.0.0.1', { conditions: leaving }), sliceEndpoint('10.0.0.2')] }),
      slice(dns, 'cart-2'),
    )
    t.match(service, {
      cluster: 'east',
      namespace: 'shop',
      name: 'cart',
      headless: false,
      clusterIPs: [],
      ports: [{ name: 'http' }, { name: 'dns' }],
    })
    t.match(service?.endpoints, [
      { address: '10.0.0.1', ready: false, terminating: true, ports: [{ name: 'http' }] },
      { address: '10.0.0.1', ready: true, terminating: false, ports: [{ name: 'dns' }] },
      { address: '10.0.0.2', ready: true },
    ])
    const headless = new Map([...sliceMessageLabels, ['service.kubernetes.io/headless', '']])
    t.equal(assembled('east', slice({}), slice({ labels: headless }, 'cart-2'))[0]?.headless, true)
    const record = decodeService('shop/cart', serviceValue(), east)
    t.match(
      assembled('east', slice({ endpoints: [sliceEndpoint('10.0.0.3')] }), ...record),
      [{ clusterIPs: ['10.96.14.7'], endpoints: [{ address: '10.0.0.3' }] }],
      'beside a service record: the record describes the service, the slices have the endpoints',
    )
  })
})

const sliceMessageLabels: [string, string][] = [['kubernetes.io/service-name', 'cart']]

t.test('an export beside what else there is of its service', async t => {
  const sticky = { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } } }
  const record = { cluster: 'east', namespace: 'shop', name: 'cart', type: 'ClusterSetIP', ...sticky }
  const own = { name: 'http', protocol: 'TCP', port: 80 }
  const exported = (changes = {}) =>
    decodeServiceExport('shop/cart', json({ ...record, ports: [own], ipFamilies: ['IPv4'], ...changes }), east)
  const slice = decodeSlice('shop/cart-x7k2p', sliceValue(), east)

  t.match(
    assembled('east', slice, exported())[0],
    {
      ports: [own],
      endpoints: [{ ports: [{ name: 'http', port: 8080 }] }],
      sessionAffinity: { timeoutMs: 60_000 },
      families: [4],
    },
    'with slices: its own port, not that of its pods',
  )
  t.match(assembled('east', slice, exported({ ports: null }))[0], {
    ports: [{ name: 'http', port: 8080 }],
    sessionAffinity: { timeoutMs: 60_000 },
  })
  const beside = assembled(
    'east',
    ...decodeService('shop/cart', serviceValue(), east),
    exported({ internalTrafficPolicy: 'Local' }),
  )
  t.match(
    beside[0],
    {
      clusterIPs: ['10.96.14.7'],
      ports: [own, { name: 'dns', port: 53 }],
      sessionAffinity: { timeoutMs: 60_000 },
      internalTrafficPolicy: 'Local',
    },
    'with a record, whose format has no affinity',
  )
  const addressless = decodeService('shop/cart', serviceValue({ frontends: {} }), east)
  t.match(assembled('east', ...addressless, exported())[0], { headless: false, ports: [own] })
  t.match(assembled('east', ...addressless, exported({ type: 'Headless' }))[0], { headless: true })
})

t.test('a node', async t => {
  const record = {
    Name: 'n1',
    Cluster: 'east',
    IPAddresses: [
      { Type: 'InternalIP', IP: '172.20.0.12' },
      { Type: 'CiliumInternalIP', IP: '10.11.3.1' },
    ],
    IPv4AllocCIDR: { IP: '10.11.3.0', Mask: '////AA==' },
    IPv6AllocCIDR: null,
    ClusterID: 7,
    Source: 'custom-resource',
    Labels: { 'topology.kubernetes.io/zone': 'eu-1a' },
    Annotations: null,
  }
  const node = { kind: 'Node', namespace: '', name: 'n1', region: undefined }
  const claims = { addresses: ['172.20.0.12', '10.11.3.1'], podCidrs: ['10.11.3.0/24'] }
  t.same(decodeNode('n1', json(record), east), { ...node, zone: 'eu-1a', ...claims })
  t.same(decodeNode('n1', json({ ...record, IPv4AllocCIDR: '10.11.3.0/24', IPAddresses: null, Labels: null }), east), {
    ...node,
    zone: undefined,
    addresses: [],
    podCidrs: ['10.11.3.0/24'],
  })
  const networks = {
    IPv4AllocCIDR: { network: 'of another version' },
    IPv6AllocCIDR: { IP: 'fd00:3::', Mask: Buffer.from(`${'f'.repeat(30)}00`, 'hex').toString('base64') },
    IPv4SecondaryAllocCIDRs: ['10.12.3.0/24', 'x'],
  }
  t.match(decodeNode('n1', json({ ...record, ...networks }), east), { podCidrs: ['fd00:3::/120', '10.12.3.0/24'] })
  const key = `${'A'.repeat(43)}=`
  const annotated = (text: string) => json({ ...record, Annotations: { 'starlane.dev/wireguard-key': text } })
  t.equal(decodeNode('n1', annotated(key), east).wireguardKey, key)
  t.equal(decodeNode('n1', annotated('none'), east).wireguardKey, undefined)
  t.throws(() => decodeNode('n2', json(record), east), { message: /name "n1", its key says "n2"/ })
  t.throws(() => decodeNode('n1', json({ ...record, ClusterID: 8 }), east), { message: /ClusterID 8/ })
  t.throws(() => decodeNode('n1', json({ ...record, Cluster: 'x' }), east), { message: /cluster "x"/ })

  for (const Name of ['', 'n1\n', '\u202en1', 'N 1', 'n'.repeat(300)]) {
    t.throws(() => decodeNode(Name, json({ ...record, Name }), east), { message: /^Name: .*is not a Kubernetes name/ })
  }
  const label = { 'starlane.dev/gateway': 'true' }
  const IPAddresses = [
    { IP: 'evil\n.example', Type: 'ExternalIP' },
    { IP: '192.0.2.7', Type: 'ExternalIP' },
  ]
  t.match(
    decodeNode('n1', json({ ...record, Labels: label, IPAddresses }), east).gateways,
    [{ text: '192.0.2.7:15008' }],
    'a gateway is at an address',
  )
})

t.test('a service export', async t => {
  const record = {
    cluster: 'east',
    name: 'cart',
    namespace: 'shop',
    annotations: {},
    exportCreationTimestamp: '2026-01-02T03:04:05Z',
    ports: [{ name: 'http', protocol: 'TCP', port: 80, appProtocol: 'h2c' }],
    type: 'Headless',
    sessionAffinity: 'None',
  }
  t.match(decodeServiceExport('shop/cart', json(record), east), {
    kind: 'ServiceExport',
    namespace: 'shop',
    name: 'cart',
    exported: { createdAt: Date.UTC(2026, 0, 2, 3, 4, 5), annotations: {}, labels: {} },
    standIn: {
      spec: { headless: true, ports: [{ name: 'http', protocol: 'TCP', port: 80, appProtocol: 'h2c' }] },
      backendsOf: `shop/${derivedServiceName('shop', 'cart')}`,
    },
  })
  const sticky = { ...record, sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } } }
  t.match(decodeServiceExport('shop/cart', json(sticky), east), {
    standIn: { spec: { sessionAffinity: { timeoutMs: 60_000 } } },
  })
  const legacy = { ...record, annotations: undefined, Annotations: { a: 'b' }, Labels: { c: 'd' } }
  const { exported } = decodeServiceExport('shop/cart', json(legacy), east)
  t.match(exported, { annotations: { a: 'b' }, labels: { c: 'd' } }, 'as Cilium named them at first')
  const both = { ...legacy, annotations: { a: 'new' }, labels: {} }
  t.match(decodeServiceExport('shop/cart', json(both), east).exported, {
    annotations: { a: 'new' },
    labels: { c: 'd' },
  })
  const policies = { internalTrafficPolicy: 'Local', trafficDistribution: 'PreferClose' }
  t.match(decodeServiceExport('shop/cart', json({ ...record, ...policies, ipFamilies: ['IPv6', 'IPv4'] }), east), {
    standIn: { spec: { ...policies, families: [6, 4] } },
  })
  const bare = { cluster: 'east', namespace: 'shop', name: 'cart', annotations: null, ports: null }
  const youngest = decodeServiceExport('shop/cart', json(bare), east)
  t.same(youngest.exported, { annotations: {}, labels: {} }, 'without a time it counts as the youngest')
  t.match(youngest.standIn?.spec, { headless: false, ports: [] })
  t.throws(() => decodeServiceExport('shop/x', json(record), east), { message: /its key says "shop\/x"/ })
})

t.test('the wire format', async t => {
  const inner = message({ a: text(1), on: maybe(2) })
  const all = message({
    a: int(1),
    b: id(2),
    c: flag(3),
    d: text(4),
    e: binary(5),
    f: bytes(16),
    g: nested(17, inner),
    h: many(18, inner),
    i: texts(19),
    j: dictionary(2000),
  })
  const absent = { a: 0, b: 0n, c: false, d: '', e: '', f: Buffer.alloc(0), g: undefined, h: [], i: [], j: new Map() }
  t.same(all.decode(Buffer.alloc(0)), absent)
  t.equal(all.encode(absent).length, 0, 'what absence says already is not written')

  t.test('decodes what it encodes', async t => {
    const someInner = fc.record(
      { a: fc.string(), on: fc.constantFrom(undefined, true, false) },
      { noNullPrototype: true },
    )
    const anything = fc.record(
      {
        a: fc.maxSafeInteger(),
        b: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        c: fc.boolean(),
        d: fc.string({ unit: 'grapheme' }),
        e: fc.uint8Array().map(raw => Buffer.from(raw).toString('latin1')),
        f: fc.uint8Array().map(raw => Buffer.from(raw)),
        g: fc.option(someInner, { nil: undefined }),
        h: fc.array(someInner),
        i: fc.array(fc.string({ unit: 'grapheme' })),
        j: fc.array(fc.tuple(fc.string(), fc.string())).map(pairs => new Map(pairs)),
      },
      { noNullPrototype: true },
    )
    fc.assert(
      fc.property(anything, values => t.strictSame(all.decode(all.encode(values)), values)),
      { numRuns: 200 },
    )
  })

  t.test('decodes or refuses any bytes', async t => {
    const settles = (raw: Uint8Array) => {
      try {
        sliceMessage.decode(raw)
      } catch (error) {
        t.ok(error instanceof RangeError, Buffer.from(raw).toString('hex'))
      }
    }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), settles), { numRuns: 2000 })
  })

  t.test('skips unknown fields, and refuses truncated and overlong input', async t => {
    const unknown = [0x38, 0x96, 0x01, 0x31, 1, 2, 3, 4, 5, 6, 7, 8, 0x35, 1, 2, 3, 4, 0x3a, 1, 9]
    t.match(all.decode(Buffer.from([...unknown, 0x08, 5])), { a: 5 })
    t.match(all.decode(Buffer.from([0x0d, 1, 2, 3, 4])), { a: 0 }, 'nor a known number of another type')
    t.equal(all.decode(Buffer.from([0x08, ...Array(9).fill(0xff), 1])).a, -1)
    t.throws(() => all.decode(Buffer.from([0x08])), RangeError)
    t.throws(() => all.decode(Buffer.from([0x22, 5, 0x61])), RangeError)
    t.throws(() => all.decode(Buffer.from([0x08, ...Array(8).fill(0xff), 0x3f])), /too large/)
    t.throws(() => all.decode(Buffer.from([0x10, ...Array(11).fill(0xff)])), /64 bits/)
    t.throws(() => all.decode(Buffer.from([0x0b])), /wire type 3/)
  })
})

t.test('a slice that is small in etcd and large unpacked is refused', async t => {
  const large = Array.from({ length: 300_000 }, () => sliceEndpoint('10.11.3.21'))
  const many = Array.from({ length: 10_001 }, () => sliceEndpoint('10.11.3.21'))
  const decode = (value: Buffer) => () => decodeSlice('shop/cart-x7k2p', value, east)
  t.throws(decode(sliceValue({ endpoints: large })), { code: 'SOURCE_OBJECT', message: /at most 2097152 bytes/ })
  t.throws(decode(sliceValue({ endpoints: many })), { code: 'SOURCE_OBJECT', message: /has 10001 addresses/ })
  t.throws(decode(Buffer.from('no frame')), { code: 'SOURCE_OBJECT', message: /is not an EndpointSlice/ })
})
