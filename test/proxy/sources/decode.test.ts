/** Decoding of Kubernetes objects. */
import t from 'tap'
import { pathText } from '../../../proxy/config/fields.ts'
import { decodeKubernetes, membersOf } from '../../../proxy/sources/decode/decode.ts'
import type { DeclaredEndpoint, EndpointsObject, ServiceObject } from '../../../proxy/sources/objects.ts'

type Fields = Record<string, unknown>

const aService = (spec: Fields = {}, metadata: Fields = {}) => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'web', ...metadata },
  spec: { clusterIP: '10.96.0.10', ports: [{ port: 80 }], ...spec },
})

const aSlice = (fields: Fields = {}, metadata: Fields = {}) => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name: 'web-1', labels: { 'kubernetes.io/service-name': 'web' }, ...metadata },
  addressType: 'IPv4',
  endpoints: [{ addresses: ['10.0.0.1'] }],
  ports: [{ port: 8080 }],
  ...fields,
})

const anEndpoint = (fields: Fields = {}) => aSlice({ endpoints: [{ addresses: ['10.0.0.1'], ...fields }] })

function service(value: unknown): ServiceObject['spec'] {
  const { object, faults } = decodeKubernetes(value)
  if (object?.kind !== 'Service') throw new Error(`no Service: ${JSON.stringify(faults)}`)
  return object.spec
}

function endpoints(value: unknown): readonly DeclaredEndpoint[] {
  return slice(value).endpoints
}

function slice(value: unknown): EndpointsObject {
  const { object, faults } = decodeKubernetes(value)
  if (object?.kind !== 'EndpointSlice' && object?.kind !== 'Endpoints')
    throw new Error(`no endpoints: ${JSON.stringify(faults)}`)
  return object
}

/** `path: message` of each fault; an object that has any must not be used, unless it is only an annotation. */
function faults(value: unknown): string[] {
  const { object, faults } = decodeKubernetes(value)
  const costsTheObject = faults.some(({ code }) => code === 'SOURCE_OBJECT')
  if (costsTheObject === (object !== undefined)) throw new Error('an object is used exactly when it is sound')
  return faults.map(({ path, message }) => `${pathText(path)}: ${message}`)
}

t.test('a Service with only a name and a port gets the defaults of Kubernetes', async t => {
  t.same(decodeKubernetes(aService()), {
    subject: 'Service default/web',
    ref: { kind: 'Service', namespace: 'default', name: 'web' },
    faults: [],
    object: {
      kind: 'Service',
      namespace: 'default',
      name: 'web',
      spec: {
        type: 'ClusterIP',
        headless: false,
        clusterIPs: ['10.96.0.10'],
        ports: [{ name: '', protocol: 'TCP', port: 80 }],
        annotations: {},
        labels: {},
        publishNotReadyAddresses: false,
        internalTrafficPolicy: 'Cluster',
      },
    },
  })
})

t.test('cluster addresses', async t => {
  const cases: [name: string, spec: Fields, clusterIPs: string[], headless: boolean][] = [
    ['clusterIPs go before clusterIP', { clusterIPs: ['10.96.0.10', 'FD00::00:A'] }, ['10.96.0.10', 'fd00::a'], false],
    ['clusterIPs alone', { clusterIP: null, clusterIPs: ['fd00::a'] }, ['fd00::a'], false],
    ['none yet', { clusterIP: '', clusterIPs: null }, [], false],
    ['headless', { clusterIP: 'None' }, [], true],
    ['headless, as exported', { clusterIP: 'None', clusterIPs: ['None'], ports: null }, [], true],
    ['an alias has none', { type: 'ExternalName', externalName: 'example.com' }, [], false],
    ['LoadBalancer keeps its own', { type: 'LoadBalancer', clusterIPs: ['10.96.0.10'] }, ['10.96.0.10'], false],
  ]
  for (const [name, spec, clusterIPs, headless] of cases)
    t.match(service(aService(spec)), { clusterIPs, headless }, name)
  t.same(service(aService({ ipFamilies: ['IPv6', 'IPv4'] }))?.families, [6, 4])
  t.equal(service(aService({ ipFamilies: null }))?.families, undefined)
})

t.test('other fields of a Service', async t => {
  t.match(service(aService({ type: 'ExternalName', externalName: 'db.example.com.', ports: null })), {
    type: 'ExternalName',
    externalName: 'db.example.com',
  })
  t.same(service(aService({ sessionAffinity: 'ClientIP' })).sessionAffinity, { timeoutMs: 10_800_000 })
  const sticky = { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } } }
  t.same(service(aService(sticky)).sessionAffinity, { timeoutMs: 60_000 })
  t.equal(service(aService({ sessionAffinity: 'None' })).sessionAffinity, undefined)
  t.equal(service(aService({ internalTrafficPolicy: 'Local' })).internalTrafficPolicy, 'Local')
  t.equal(service(aService({ publishNotReadyAddresses: true })).publishNotReadyAddresses, true)
  const ports = [
    { name: 'http', port: 80, targetPort: 'web', nodePort: 30_080, appProtocol: 'kubernetes.io/h2c' },
    { name: 'dns', port: 53, protocol: 'UDP', targetPort: 5353 },
    { name: 'dns-tcp', port: 53, protocol: 'TCP' },
    { name: 'diameter', port: 3868, protocol: 'SCTP' },
  ]
  t.same(service(aService({ ports })).ports, [
    { name: 'http', protocol: 'TCP', port: 80, appProtocol: 'kubernetes.io/h2c' },
    { name: 'dns', protocol: 'UDP', port: 53 },
    { name: 'dns-tcp', protocol: 'TCP', port: 53 },
    { name: 'diameter', protocol: 'SCTP', port: 3868 },
  ])
  const annotations = {
    'service.cilium.io/global': 'true',
    'kubectl.kubernetes.io/last-applied-configuration': '{}',
    empty: null,
  }
  t.same(service(aService({}, { annotations, labels: null })).annotations, {
    'service.cilium.io/global': 'true',
    empty: '',
  })
})

t.test('a Service that Kubernetes would refuse is refused, with the field and the remedy', async t => {
  const cases: [value: unknown, ...faults: string[]][] = [
    [aService({ ports: [{ port: 0 }] }), 'spec.ports[0].port: 0 is not a whole number from 1 to 65535'],
    [aService({ ports: [{ port: '80' }] }), 'spec.ports[0].port: "80" is not a whole number from 1 to 65535'],
    [aService({ ports: [{ port: 80.5 }] }), 'spec.ports[0].port: 80.5 is not a whole number from 1 to 65535'],
    [aService({ ports: [{ name: 'http' }] }), 'spec.ports[0].port: is missing'],
    [aService({ ports: [] }), 'spec.ports: is empty; give at least one port'],
    [aService({ ports: { port: 80 } }), 'spec.ports: a mapping is not a list'],
    [
      aService({ ports: [{ port: 80, protocol: 'tcp' }] }),
      'spec.ports[0].protocol: "tcp" is not TCP, UDP or SCTP, in capitals',
    ],
    [
      aService({ ports: [{ port: 80 }, { port: 81 }] }),
      'spec.ports[0].name: is missing; a Service of several ports needs a name for each',
      'spec.ports[1].name: is missing; a Service of several ports needs a name for each',
    ],
    [
      aService({
        ports: [
          { name: 'a', port: 80 },
          { name: 'a', port: 81 },
        ],
      }),
      'spec.ports[1].name: "a" is also the name of ports[0]; names must be unique',
    ],
    [
      aService({
        ports: [
          { name: 'a', port: 80 },
          { name: 'b', port: 80 },
        ],
      }),
      'spec.ports[1].port: 80/TCP is also in ports[0]; remove one',
    ],
    [
      aService({ clusterIP: '10.96.0.300' }),
      'spec.clusterIP: "10.96.0.300" is not an IP address; write it as 10.0.0.7 or fd00::7',
    ],
    [
      aService({ clusterIPs: ['10.96.0.11'] }),
      'spec.clusterIPs[0]: "10.96.0.11" is not spec.clusterIP "10.96.0.10"; make them equal',
    ],
    [
      aService({ clusterIPs: ['10.96.0.10', '10.96.0.11'] }),
      'spec.clusterIPs[1]: "10.96.0.11" is a second IPv4 address; a Service has at most one of each family',
    ],
    [aService({ type: 'ExternalName' }), 'spec.externalName: "" is not a DNS name; an ExternalName Service needs one'],
    [aService({ type: 'Headless' }), 'spec.type: "Headless" is not ClusterIP, NodePort, LoadBalancer or ExternalName'],
    [
      aService({ sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 0 } } }),
      'spec.sessionAffinityConfig.clientIP.timeoutSeconds: 0 is not a whole number from 1 to 86400',
    ],
    [aService({ publishNotReadyAddresses: 'yes' }), 'spec.publishNotReadyAddresses: "yes" is not true or false'],
    [
      aService({}, { annotations: { 'service.cilium.io/global': true } }),
      'metadata.annotations["service.cilium.io/global"]: true is not a text; put it in quotes',
    ],
    [aService({}, { labels: ['app'] }), 'metadata.labels: a list is not a mapping'],
    [aService({}, { name: undefined }), 'metadata.name: is missing'],
    [
      aService({}, { name: 'Web' }),
      'metadata.name: "Web" is not a name of at most 253 characters out of a-z, 0-9, "-" and ".", with a letter or digit at both ends',
    ],
    [
      aService({}, { name: 'web.v2' }),
      'metadata.name: "web.v2" is not a name of at most 63 characters out of a-z, 0-9 and "-", with a letter or digit at both ends',
    ],
    [
      aService({}, { namespace: 'a/b' }),
      'metadata.namespace: "a/b" is not a name of at most 63 characters out of a-z, 0-9 and "-", with a letter or digit at both ends',
    ],
    [{ apiVersion: 'v1', kind: 'Service' }, 'metadata: is missing'],
    [{ apiVersion: 'v1', kind: 'Service', metadata: [] }, 'metadata: a list is not a mapping'],
  ]
  for (const [value, ...expected] of cases) t.same(faults(value), expected)
})

t.test('the nil rules of conditions', async t => {
  const cases: [conditions: unknown, expected: Partial<DeclaredEndpoint>][] = [
    [undefined, { ready: true, serving: true, terminating: false }],
    [null, { ready: true, serving: true, terminating: false }],
    [{}, { ready: true, serving: true, terminating: false }],
    [
      { ready: null, serving: null, terminating: null },
      { ready: true, serving: true, terminating: false },
    ],
    [{ ready: false }, { ready: false, serving: true, terminating: false }],
    [
      { ready: false, serving: true, terminating: true },
      { ready: false, serving: true, terminating: true },
    ],
    [
      { ready: true, serving: false },
      { ready: true, serving: false, terminating: false },
    ],
  ]
  for (const [conditions, expected] of cases) {
    const [endpoint] = endpoints(anEndpoint({ conditions }))
    t.match(endpoint, expected, JSON.stringify(conditions))
    t.equal(endpoint?.serving, expected.serving)
  }
})

t.test('the pod, node and zone of an endpoint', async t => {
  const full = {
    hostname: 'web-0',
    nodeName: 'n1',
    zone: 'z1',
    targetRef: { kind: 'Pod', name: 'web-abc', namespace: 'default' },
    hints: { forZones: [{ name: 'z1' }, { name: 'z2' }], forNodes: [{ name: 'n1' }] },
    deprecatedTopology: { 'topology.kubernetes.io/zone': 'old' },
  }
  t.match(endpoints(anEndpoint(full)), [
    { hostname: 'web-0', node: 'n1', zone: 'z1', pod: 'web-abc', forZones: ['z1', 'z2'] },
  ])
  const [bare] = endpoints(
    anEndpoint({ hostname: null, nodeName: null, zone: null, targetRef: null, hints: { forZones: null } }),
  )
  t.same(Object.keys(bare ?? {}).sort(), ['address', 'ports', 'ready', 'serving', 'terminating'])
  t.equal(endpoints(anEndpoint({ targetRef: { kind: 'Node', name: 'n1' } }))[0]?.pod, undefined, 'only a Pod is a pod')
  const beta = {
    ...anEndpoint({ topology: { 'kubernetes.io/hostname': 'n2', 'topology.kubernetes.io/zone': 'z9' } }),
    apiVersion: 'discovery.k8s.io/v1beta1',
  }
  t.match(endpoints(beta), [{ node: 'n2', zone: 'z9' }], 'v1beta1 has it in topology')
})

t.test('endpoints come sorted by address, each with the ports of the slice', async t => {
  const { service, endpoints } = slice(
    aSlice(
      {
        endpoints: [{ addresses: ['10.0.0.2'] }, { addresses: ['10.0.0.1', '10.0.0.3'] }],
        ports: [
          { name: 'http', port: 8080 },
          { name: null, port: 53, protocol: 'UDP' },
          { name: 'all', port: null },
        ],
      },
      { namespace: 'shop' },
    ),
  )
  t.equal(service, 'shop/web')
  t.same(
    endpoints.map(({ address }) => address),
    ['10.0.0.1', '10.0.0.2', '10.0.0.3'],
  )
  for (const { ports } of endpoints) {
    t.same(ports, [
      { name: 'http', protocol: 'TCP', port: 8080 },
      { name: '', protocol: 'UDP', port: 53 },
    ])
  }
})

t.test('slices without endpoints that are not a fault', async t => {
  t.same(endpoints(aSlice({ endpoints: null, ports: null })), [])
  t.match(endpoints(aSlice({ ports: [] })), [{ ports: [] }], 'an endpoint without a port is one of a headless service')
  const ignored: [name: string, value: unknown][] = [
    ['host names', aSlice({ addressType: 'FQDN', endpoints: [{ addresses: ['a.example.com'] }] })],
    [
      'copies of remote endpoints',
      aSlice(
        {},
        {
          labels: {
            'kubernetes.io/service-name': 'web',
            'endpointslice.kubernetes.io/managed-by': 'endpointslice-mesh-controller.cilium.io',
          },
        },
      ),
    ],
    [
      'a slice that a controller keeps for something else',
      aSlice({}, { labels: { 'endpointslice.kubernetes.io/managed-by': 'lighthouse.submariner.io' } }),
    ],
  ]
  for (const [name, value] of ignored) {
    t.equal(decodeKubernetes(value).object, undefined, name)
    t.same(decodeKubernetes(value).faults, [], name)
  }
})

t.test('a slice that cannot be used', async t => {
  const cases: [value: unknown, ...faults: string[]][] = [
    [
      aSlice({ endpoints: [{ addresses: ['10.0.0'] }] }),
      'endpoints[0].addresses[0]: "10.0.0" is not an IP address; write it as 10.0.0.7 or fd00::7',
    ],
    [
      aSlice({ addressType: 'IPv6', endpoints: [{ addresses: ['fe80::1%eth0'] }] }),
      'endpoints[0].addresses[0]: "fe80::1%eth0" has a zone, which is only valid on one machine; give the address without it',
    ],
    [aSlice({ addressType: 'IPv6' }), 'endpoints[0].addresses[0]: "10.0.0.1" does not fit addressType IPv6'],
    [aSlice({ addressType: undefined }), 'addressType: is missing'],
    [aSlice({ endpoints: [{}] }), 'endpoints[0].addresses: is missing'],
    [
      aSlice({ endpoints: [{ address: '10.0.0.1', addresses: null }] }),
      'endpoints[0].addresses: nothing is not a list',
    ],
    [aSlice({ ports: [{ port: 70_000 }] }), 'ports[0].port: 70000 is not a whole number from 1 to 65535'],
    [
      aSlice({ ports: [{ name: 'No', port: 80 }] }),
      'ports[0].name: "No" is not a port name: at most 63 characters out of a-z, 0-9 and "-"',
    ],
    [
      anEndpoint({ hostname: 'a.b' }),
      'endpoints[0].hostname: "a.b" is not a name of at most 63 characters out of a-z, 0-9 and "-", with a letter or digit at both ends',
    ],
    [anEndpoint({ conditions: { ready: 'true' } }), 'endpoints[0].conditions.ready: "true" is not true or false'],
    [
      aSlice({}, { labels: {} }),
      'metadata.labels["kubernetes.io/service-name"]: is missing; give the name of the Service',
    ],
    [{ ...aSlice(), apiVersion: 'v1' }, 'apiVersion: "v1" has no EndpointSlice; write discovery.k8s.io/v1'],
    [{ ...aSlice(), apiVersion: undefined }, 'apiVersion: is missing; write discovery.k8s.io/v1'],
  ]
  for (const [value, ...expected] of cases) t.same(faults(value), expected)
  t.same(
    endpoints(aSlice({ endpoints: [{ addresses: ['127.2.0.11'] }] })).length,
    1,
    'loopback is how a mesh runs on one machine',
  )
})

t.test('weight is an annotation of the slice', async t => {
  const weighed = (weight: string) =>
    aSlice({}, { annotations: { 'service.cilium.io/weight': weight }, labels: { 'kubernetes.io/service-name': 'web' } })
  t.equal(endpoints(weighed('20'))[0]?.weight, 20)
  t.equal(endpoints(weighed('0'))[0]?.weight, 0)
  t.equal(endpoints(aSlice())[0]?.weight, undefined)
  for (const bad of ['', '-1', '1.5', 'heavy', '1000000', ' 1']) {
    t.equal(endpoints(weighed(bad))[0]?.weight, undefined)
    t.match(decodeKubernetes(weighed(bad)).faults, [
      { code: 'SERVICE_ANNOTATION', path: ['metadata', 'annotations', 'service.cilium.io/weight'] },
    ])
  }
})

t.test('Endpoints objects', async t => {
  const value = {
    apiVersion: 'v1',
    kind: 'Endpoints',
    metadata: { name: 'web' },
    subsets: [
      {
        addresses: [{ ip: '10.0.0.2', nodeName: 'n1', targetRef: { kind: 'Pod', name: 'p' } }],
        notReadyAddresses: [{ ip: '10.0.0.1', hostname: 'web-1' }],
        ports: [{ name: 'http', port: 8080 }],
      },
      { addresses: [{ ip: 'fd00::1' }], ports: null },
    ],
  }
  const http = [{ name: 'http', protocol: 'TCP', port: 8080 }]
  t.same(decodeKubernetes(value).object, {
    kind: 'Endpoints',
    namespace: 'default',
    name: 'web',
    service: 'default/web',
    endpoints: [
      { address: '10.0.0.1', ports: http, ready: false, serving: undefined, terminating: false, hostname: 'web-1' },
      { address: '10.0.0.2', ports: http, ready: true, serving: undefined, terminating: false, pod: 'p', node: 'n1' },
      { address: 'fd00::1', ports: [], ready: true, serving: undefined, terminating: false },
    ],
  })
  t.same(endpoints({ ...value, subsets: null }), [])
  t.same(faults({ ...value, subsets: [{ addresses: [{ ip: 'x' }] }] }), [
    'subsets[0].addresses[0].ip: "x" is not an IP address; write it as 10.0.0.7 or fd00::7',
  ])
})

t.test('namespaces and nodes', async t => {
  const namespace = (annotations?: Fields) =>
    decodeKubernetes({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', annotations } })
  const gate = (value: string) => namespace({ 'clustermesh.cilium.io/global': value })
  t.match(namespace().object, { kind: 'Namespace', namespace: '', name: 'shop', global: undefined })
  for (const value of ['true', 'True']) t.match(gate(value), { object: { global: true }, faults: [] }, value)
  for (const value of ['false', 'FALSE']) t.match(gate(value), { object: { global: false }, faults: [] }, value)
  t.match(gate('yes'), {
    object: { global: false },
    faults: [{ code: 'SERVICE_ANNOTATION', message: /"yes" is neither/ }],
  })

  const node = (labels?: Fields) =>
    decodeKubernetes({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1.example.com', labels } }).object
  t.match(node({ 'topology.kubernetes.io/zone': 'z1', 'failure-domain.beta.kubernetes.io/zone': 'old' }), {
    kind: 'Node',
    zone: 'z1',
  })
  t.match(node({ 'failure-domain.beta.kubernetes.io/zone': 'old' }), { zone: 'old' })
  const known = { kind: 'Node', namespace: '', name: 'n1.example.com', zone: undefined, region: undefined }
  t.same(node(), { ...known, addresses: [], podCidrs: [] })
  const claims = decodeKubernetes({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'n1', annotations: { 'network.cilium.io/ipv4-pod-cidr': '10.1.4.0/24' } },
    spec: { podCIDR: '10.1.3.0/24', podCIDRs: ['10.1.3.0/24', 'fd00:1:3::/64'] },
    status: {
      addresses: [
        { type: 'InternalIP', address: '172.20.0.3' },
        { type: 'Hostname', address: 'n1' },
      ],
    },
  })
  t.match(claims, {
    object: { addresses: ['172.20.0.3'], podCidrs: ['10.1.3.0/24', 'fd00:1:3::/64', '10.1.4.0/24'] },
    faults: [],
  })
})

t.test('Pods', async t => {
  const decode = (status?: Fields | null) =>
    decodeKubernetes({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'luke-1.a', namespace: 'rebels' }, status })
  const cases: [status: Fields | null | undefined, addresses: string[] | undefined][] = [
    [{ phase: 'Running', podIP: '10.1.0.7' }, ['10.1.0.7']],
    [
      { phase: 'Running', podIP: '10.1.0.7', podIPs: [{ ip: '10.1.0.7' }, { ip: 'FD00:0::7' }] },
      ['10.1.0.7', 'fd00::7'],
    ],
    [{ phase: 'Pending', podIPs: [{ ip: '10.1.0.7' }] }, ['10.1.0.7']],
    [{ phase: 'Unknown', podIP: '10.1.0.7' }, ['10.1.0.7']],
    [{ phase: 'Succeeded', podIP: '10.1.0.7' }, undefined],
    [{ phase: 'Failed', podIPs: [{ ip: '10.1.0.7' }] }, undefined],
    [{ phase: 'Pending', podIP: '', podIPs: [] }, undefined],
    [{ phase: 'Pending', podIP: null, podIPs: null }, undefined],
    [{}, undefined],
    [null, undefined],
    [undefined, undefined],
  ]
  for (const [status, addresses] of cases) {
    const { object, faults, ref } = decode(status)
    t.same(faults, [], JSON.stringify(status))
    t.same(ref, { kind: 'Pod', namespace: 'rebels', name: 'luke-1.a' })
    t.same(object, addresses && { ...ref, pod: { namespace: 'rebels', name: 'luke-1.a', addresses } })
  }
  const unsound: [status: unknown, path: (string | number)[], message: RegExp][] = [
    ['up', ['status'], /"up" is not a mapping/],
    [{ phase: 1 }, ['status', 'phase'], /not a text/],
    [{ podIP: '10.1.0.300' }, ['status', 'podIP'], /is not an IP address/],
    [{ podIPs: [{ ip: 'luke' }] }, ['status', 'podIPs', 0, 'ip'], /is not an IP address/],
    [{ podIPs: [{}] }, ['status', 'podIPs', 0, 'ip'], /is missing/],
    [{ podIPs: ['1', '2', '3'].map(ip => ({ ip: `10.1.0.${ip}` })) }, ['status', 'podIPs'], /one or two/],
  ]
  for (const [status, path, message] of unsound) {
    const { object, faults } = decode(status as Fields)
    t.equal(object, undefined)
    t.match(faults, [{ code: 'SOURCE_OBJECT', path, message }], JSON.stringify(status))
  }
})

t.test('ServiceExports and ServiceImports', async t => {
  const mcs = (kind: string, spec?: Fields, metadata: Fields = {}, version = 'v1alpha1') => ({
    apiVersion: `multicluster.x-k8s.io/${version}`,
    kind,
    metadata: { name: 'web', namespace: 'shop', ...metadata },
    spec,
  })
  for (const version of ['v1alpha1', 'v1beta1']) {
    t.same(decodeKubernetes(mcs('ServiceExport', undefined, {}, version)).object, {
      kind: 'ServiceExport',
      namespace: 'shop',
      name: 'web',
      exported: { annotations: {}, labels: {} },
    })
  }
  const shared = { exportedAnnotations: { 'service.cilium.io/affinity': 'local' }, exportedLabels: { team: 'x' } }
  const exported = mcs('ServiceExport', shared, { creationTimestamp: '2026-01-02T03:04:05Z' })
  t.match(decodeKubernetes(exported).object, {
    exported: {
      createdAt: Date.UTC(2026, 0, 2, 3, 4, 5),
      annotations: shared.exportedAnnotations,
      labels: shared.exportedLabels,
    },
  })
  t.same(faults(mcs('ServiceExport', {}, { creationTimestamp: 'yesterday' })), [
    'metadata.creationTimestamp: "yesterday" is not a time; leave it to the API server',
  ])
  const spec = {
    ips: ['10.96.0.99', 'FD00::63'],
    ports: [{ name: 'http', port: 80, appProtocol: 'h2c' }],
    sessionAffinity: 'ClientIP',
  }
  t.same(decodeKubernetes(mcs('ServiceImport', spec, {}, 'v1beta1')).object, {
    kind: 'ServiceImport',
    namespace: 'shop',
    name: 'web',
    derived: undefined,
    spec: {
      type: 'ClusterIP',
      imported: true,
      headless: false,
      clusterIPs: ['10.96.0.99', 'fd00::63'],
      ports: [{ name: 'http', protocol: 'TCP', port: 80, appProtocol: 'h2c' }],
      annotations: { 'service.cilium.io/global': 'true', 'service.cilium.io/shared': 'false' },
      labels: {},
      publishNotReadyAddresses: false,
      sessionAffinity: { timeoutMs: 10_800_000 },
      internalTrafficPolicy: 'Cluster',
    },
  })
  const ofGke = { ...mcs('ServiceImport', { ips: ['10.96.5.5'], ports: [{ port: 80 }] }), apiVersion: 'net.gke.io/v1' }
  t.match(decodeKubernetes(ofGke).object, {
    kind: 'ServiceImport',
    spec: { imported: true, clusterIPs: ['10.96.5.5'] },
  })
  t.match(decodeKubernetes(mcs('ServiceImport', { type: 'Headless', ips: null })).object, {
    spec: { headless: true, clusterIPs: [], ports: [] },
  })
  const own = { labels: { 'app.kubernetes.io/managed-by': 'starlane.dev' } }
  const derived = { annotations: { 'multicluster.kubernetes.io/derived-service': 'derived-x' } }
  t.match(decodeKubernetes(mcs('ServiceImport', spec, own)), { object: undefined, faults: [] })
  for (const metadata of [derived, { ...own, ...derived }]) {
    const { object } = decodeKubernetes(mcs('ServiceImport', spec, metadata))
    t.match(object, { derived: 'derived-x', spec: { clusterIPs: [] } }, 'the address is the derived Service’s')
  }
  t.same(faults(mcs('ServiceImport')), ['spec: is missing'])
  t.same(faults(mcs('ServiceImport', { type: 'ClusterIP', ips: ['10.0.0'], ports: [{ port: 0 }] })), [
    'spec.type: "ClusterIP" is not ClusterSetIP or Headless',
    'spec.ports[0].port: 0 is not a whole number from 1 to 65535',
  ])
  t.match(faults(mcs('ServiceImport', { ips: ['10.0.0'] })), [/^spec\.ips\[0\]: "10\.0\.0" is not an IP address/])
})

t.test('what is ignored on purpose is no fault, and has a name', async t => {
  const slice = (labels: object, rest: object = {}) => aSlice({ metadata: { name: 'web-1', labels }, ...rest })
  const service = { 'kubernetes.io/service-name': 'web' }
  const manager = (name: string) => ({ 'endpointslice.kubernetes.io/managed-by': name })
  for (const [value, ignored] of [
    [{ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web' } }, 'Deployment (apps/v1)'],
    [
      { apiVersion: 'serving.knative.dev/v1', kind: 'Service', metadata: { name: 'web' }, spec: { template: {} } },
      'Service (serving.knative.dev/v1)',
    ],
    [{ kind: 'Kustomization' }, 'Kustomization'],
    [{ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy' }, 'NetworkPolicy (networking.k8s.io/v1)'],
    [slice(service, { addressType: 'FQDN' }), 'EndpointSlice (with names instead of addresses)'],
    [
      slice({ ...service, ...manager('endpointslice-mesh-controller.cilium.io') }),
      'EndpointSlice (a copy of endpoints of another cluster)',
    ],
    [
      slice({ ...service, ...manager('endpointslice-mesh-controller.starlane.dev') }),
      'EndpointSlice (written by Starlane)',
    ],
    [slice(manager('mine.example.org')), 'EndpointSlice (of a controller, without a Service)'],
  ] as const) {
    t.match(decodeKubernetes(value), { object: undefined, faults: [], ignored })
  }
  t.equal(decodeKubernetes(aService()).ignored, undefined)
  t.equal(decodeKubernetes({ kind: 'Sevice' }).ignored, undefined, 'a misspelt kind is a fault')
})

t.test('a misspelt kind or API group is reported', async t => {
  const named = (apiVersion: string | undefined, kind: string) => ({ apiVersion, kind, metadata: { name: 'web' } })
  for (const [apiVersion, kind, meant] of [
    ['v1', 'Sevice', 'Service'],
    ['v1', 'service', 'Service'],
    ['v1', 'Endpoint', 'Endpoints'],
    ['v1', 'Lst', 'List'],
    ['discovery.k8s.io/v1', 'EndpointSlices', 'EndpointSlice'],
    ['multicluster.x-k8s.io/v1alpha1', 'ServiceExprot', 'ServiceExport'],
    [undefined, 'NameSpace', 'Namespace'],
  ] as const)
    t.same(faults(named(apiVersion, kind)), [`kind: "${kind}" is not a kind that is read; did you mean "${meant}"?`])
  for (const [apiVersion, kind, home] of [
    ['discovery.k8s/v1', 'EndpointSlice', 'discovery.k8s.io/v1'],
    ['multicluster.x-k8s.io/v1', 'ServiceExport', 'multicluster.x-k8s.io/v1alpha1'],
    ['multicluster.k8s.io/v1alpha1', 'ServiceImport', 'multicluster.x-k8s.io/v1alpha1'],
    ['core/v1', 'Service', 'v1'],
    ['apps/v1', 'Endpoints', 'v1'],
  ] as const)
    t.same(faults(named(apiVersion, kind)), [`apiVersion: "${apiVersion}" has no ${kind}; write ${home}`])
  for (const [apiVersion, kind] of [
    ['v1', 'ServiceAccount'],
    ['v1', 'PodTemplate'],
    ['v1', 'Secret'],
    ['example.org/v1', 'Sevice'],
    ['net.gke.io/v1', 'ServiceExport'],
    ['apps/v1', 'Deployment'],
  ] as const)
    t.same(decodeKubernetes(named(apiVersion, kind)).faults, [])
  t.match(faults({ apiVersion: 'v1', kind: 'List', items: [] }), [/is inside more than 10 lists/])
})

t.test('an empty text is the default, as in the Kubernetes API', async t => {
  const metadata = { name: 'web', namespace: '' }
  const spec = { type: '', sessionAffinity: '', ports: [{ port: 80, protocol: '', name: '' }] }
  t.match(decodeKubernetes({ ...aService(), metadata, spec }), {
    object: {
      namespace: 'default',
      spec: { type: 'ClusterIP', ports: [{ port: 80, protocol: 'TCP' }] },
    },
    faults: [],
  })
  t.same(faults(aSlice({ endpoints: [{ addresses: ['127.2.0.11'], hostname: '' }] })), [])
})

t.test('a value that is not a Kubernetes object is reported', async t => {
  for (const [value, what] of [
    ['text', '"text"'],
    [['a'], 'a list'],
    [null, 'nothing'],
    [7, '7'],
  ] as const) {
    t.match(decodeKubernetes(value).faults, [
      {
        code: 'SOURCE_OBJECT',
        path: [],
        message: `${what} is not a Kubernetes object; give it apiVersion, kind and metadata`,
      },
    ])
  }
  t.match(decodeKubernetes({ replicas: 2 }).faults, [
    { path: ['kind'], message: 'is missing; give it apiVersion, kind and metadata' },
  ])
  t.match(decodeKubernetes({ ...aService(), apiVersion: 'v2' }).faults, [
    { path: ['apiVersion'], message: '"v2" has no Service; write v1' },
  ])
})

t.test('names with a meaning in JavaScript are ordinary names', async t => {
  t.match(decodeKubernetes(JSON.parse('{"apiVersion":"v1","kind":"constructor","metadata":{"name":"a"}}')), {
    object: undefined,
    faults: [],
  })
  const sly = JSON.parse(
    '{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","labels":{"__proto__":"x","constructor":"y"}},"spec":{"ports":[{"port":80}]}}',
  )
  t.equal(Object.getPrototypeOf(service(sly).labels), Object.prototype)
})

t.test('members of lists', async t => {
  t.same(membersOf({ apiVersion: 'v1', kind: 'List', items: [1, 2] }), [1, 2])
  t.same(membersOf({ apiVersion: 'v1', kind: 'List', items: null }), [])
  t.same(membersOf({ apiVersion: 'v1', kind: 'ServiceList', items: [{ metadata: {} }, { kind: 'Other' }, 3] }), [
    { apiVersion: 'v1', kind: 'Service', metadata: {} },
    { kind: 'Other' },
    3,
  ])
  t.equal(membersOf({ kind: 'AllowList', items: { a: 1 } }), undefined)
  t.equal(membersOf(aService()), undefined)
  t.equal(membersOf([1]), undefined)
})

t.test('more addresses than any controller writes into one object are refused before they are looked at', async t => {
  const metadata = { name: 'x', namespace: 'default', labels: { 'kubernetes.io/service-name': 'x' } }
  const addresses = Array(10_001).fill({ ip: 'nonsense' })
  const endpoints = Array(10_001).fill({ addresses: ['nonsense'] })
  const many = [{ addresses: Array(10_001).fill('nonsense') }]
  const slice = { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', metadata, addressType: 'IPv4' }
  const list = { apiVersion: 'v1', kind: 'Endpoints', metadata }
  for (const value of [
    { ...slice, endpoints },
    { ...slice, endpoints: many },
    { ...list, subsets: [{ addresses }] },
    { ...list, subsets: [{ notReadyAddresses: addresses }] },
  ]) {
    const { object, faults } = decodeKubernetes(value)
    t.equal(object, undefined)
    t.match(faults, [{ message: 'has 10001 addresses, more than 10000; split it' }])
  }
})

t.test('a large object is refused with its first fault: it may have as many as values', async t => {
  const service = (count: number) => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web' },
    spec: { ports: Array.from({ length: count }, () => ({ port: 'none' })) },
  })
  t.equal(faults(service(100)).length, 100)
  t.match(faults(service(9000)), [/^spec\.ports\[0\]\.port: "none" is not/])
  t.same(faults(service(10_001)), ['spec.ports: has 10001 members, more than 10000'])
})
