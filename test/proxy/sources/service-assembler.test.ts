/** The service assembler: order, joins, zones, exports, imports and minimal deliveries. */
import fc from 'fast-check'
import t from 'tap'
import type { ClusterService, Endpoint } from '../../../proxy/model/service.ts'
import type {
  ClusterObject,
  DeclaredEndpoint,
  EndpointsObject,
  ExportObject,
  ImportObject,
  NodeObject,
  ServiceObject,
} from '../../../proxy/sources/objects.ts'
import { ServiceAssembler } from '../../../proxy/sources/service-assembler.ts'
import { RecordingSink } from '../../conformance/source.ts'
import { clusterService } from '../../support/model.ts'

const http = [{ name: 'http', protocol: 'TCP', port: 8080 }] as const
const metrics = [{ name: 'metrics', protocol: 'TCP', port: 9090 }] as const

function aService(name: string, spec: Partial<ServiceObject['spec']> = {}): ServiceObject {
  const { cluster: _, namespace: __, name: ___, endpoints: ____, ...plain } = clusterService()
  return { kind: 'Service', namespace: 'default', name, spec: { ...plain, ...spec } }
}

function declared(given: Partial<DeclaredEndpoint> & { address: string }): DeclaredEndpoint {
  return { ports: http, ready: true, serving: undefined, terminating: false, ...given }
}

function aSlice(
  name: string,
  service: string,
  ...endpoints: (Partial<DeclaredEndpoint> & { address: string })[]
): EndpointsObject {
  return {
    kind: 'EndpointSlice',
    namespace: 'default',
    name,
    service: `default/${service}`,
    endpoints: endpoints.map(declared),
  }
}

function anExport(name: string, createdAt?: number): ExportObject {
  const exported = { ...(createdAt !== undefined && { createdAt }), annotations: {}, labels: {} }
  return { kind: 'ServiceExport', namespace: 'default', name, exported }
}

function anImport(name: string, derived?: string): ImportObject {
  return { ...aService(name, { imported: true }), kind: 'ServiceImport', derived }
}

function legacy(name: string, ...addresses: string[]): EndpointsObject {
  return { ...aSlice(name, name, ...addresses.map(address => ({ address }))), kind: 'Endpoints' }
}

function aNode(name: string, zone?: string): NodeObject {
  return { kind: 'Node', namespace: '', name, zone }
}

/** An assembler that has been given these objects and has delivered them. */
function begin(...objects: ClusterObject[]) {
  const assembler = new ServiceAssembler('cluster-1')
  const sink = new RecordingSink()
  for (const object of objects) assembler.put(object)
  assembler.flush(sink)
  sink.news()
  const endpoints = (name: string): readonly Endpoint[] => sink.services.get(`default/${name}`)?.endpoints ?? []
  return {
    assembler,
    sink,
    endpoints,
    addresses: (name: string) => endpoints(name).map(({ address }) => address),
    /** Puts, flushes, and says what was delivered. */
    put: (...objects: ClusterObject[]) => {
      for (const object of objects) assembler.put(object)
      assembler.flush(sink)
      return sink.news()
    },
    remove: (object: ClusterObject) => {
      assembler.remove(object)
      assembler.flush(sink)
      return sink.news()
    },
  }
}

t.test('the first flush is a reset, the later ones are differences', async t => {
  const assembler = new ServiceAssembler('cluster-1')
  const sink = new RecordingSink()
  assembler.put(aSlice('a-1', 'a', { address: '10.0.0.1' }))
  assembler.put(aService('a'), 'a.yaml:3')
  assembler.put({ kind: 'Namespace', namespace: '', name: 'default', global: false })
  assembler.flush(sink)
  assembler.flush(sink)
  t.same(sink.news(), ['reset'])
  t.same(sink.namespaces.get('default'), { name: 'default', global: false })
  t.match(sink.services.get('default/a'), {
    cluster: 'cluster-1',
    namespace: 'default',
    name: 'a',
    origin: 'a.yaml:3',
    endpoints: [{ address: '10.0.0.1', ports: http, ready: true, serving: true, terminating: false }],
  })
})

t.test('all changes of a Pod between two flushes are delivered as one', async t => {
  const sink = new RecordingSink()
  const assembler = new ServiceAssembler('cluster-1')
  const ref = { kind: 'Pod', namespace: 'default', name: 'luke' } as const
  const at = (...addresses: string[]) => ({ ...ref, pod: { namespace: 'default', name: 'luke', addresses } })
  const news = () => {
    assembler.flush(sink)
    return sink.news()
  }
  assembler.put(at('10.0.0.1'))
  t.same(news(), ['reset'])
  t.same(sink.pods.get('default/luke'), ['10.0.0.1'])
  assembler.put(at('10.0.0.1'))
  t.same(news(), [], 'nothing new')
  assembler.remove(ref)
  assembler.put(at('10.0.0.1'))
  t.same(news(), [], 'gone and come back')
  assembler.put(at('10.0.0.3'))
  assembler.put(at('10.0.0.2'))
  t.same(news(), ['put pod default/luke'])
  assembler.remove(ref)
  assembler.remove(ref)
  t.same(news(), ['drop pod default/luke'])
  assembler.put(at('10.0.0.1'))
  assembler.remove(ref)
  t.same(news(), [], 'come and gone')
  t.same(sink.violations, [])
})

t.test('a change affects only the service it belongs to', async t => {
  const { put, remove, addresses } = begin(aService('a'), aService('b'), aSlice('a-1', 'a', { address: '10.0.0.1' }))
  t.same(put(aSlice('a-2', 'a', { address: '10.0.0.2' })), ['put default/a'])
  t.same(addresses('a'), ['10.0.0.1', '10.0.0.2'])
  t.same(put(aSlice('a-1', 'a', { address: '10.0.0.3' })), ['put default/a'])
  t.same(addresses('a'), ['10.0.0.3', '10.0.0.2'])
  t.same(remove(aSlice('a-1', 'a')), ['put default/a'])
  t.same(addresses('a'), ['10.0.0.2'])
  t.same(remove(aSlice('a-1', 'a')), [], 'what is not known is not removed')
})

t.test('an equal service is not delivered again', async t => {
  const { assembler, sink, put } = begin(aService('a'), aSlice('a-1', 'a', { address: '10.0.0.1' }), aNode('n1', 'z1'))
  t.same(put(aService('a'), aSlice('a-1', 'a', { address: '10.0.0.1' }), aNode('n1', 'z1')), [])
  assembler.put(aService('a'), 'moved.yaml:99')
  assembler.flush(sink)
  t.same(sink.news(), [], 'another place in the file is no other service')
  assembler.put(aSlice('a-1', 'a', { address: '10.0.0.9' }))
  assembler.put(aSlice('a-1', 'a', { address: '10.0.0.1' }))
  assembler.flush(sink)
  t.same(sink.news(), [], 'there and back within one burst')
})

t.test('objects may come in any order, and endpoints outlive their Service', async t => {
  const { put, remove, addresses } = begin()
  t.same(put(aSlice('a-1', 'a', { address: '10.0.0.1' })), [], 'endpoints of nothing are nothing')
  t.same(put(aService('a')), ['put default/a'])
  t.same(remove(aService('a')), ['drop default/a'])
  t.same(remove(aService('a')), [])
  t.same(put(aService('a')), ['put default/a'])
  t.same(addresses('a'), ['10.0.0.1'])
})

t.test('a slice may move to another service', async t => {
  const { put, addresses } = begin(aService('a'), aService('b'), aSlice('s', 'a', { address: '10.0.0.1' }))
  t.same(put(aSlice('s', 'b', { address: '10.0.0.1' })).sort(), ['put default/a', 'put default/b'])
  t.same([addresses('a'), addresses('b')], [[], ['10.0.0.1']])
})

t.test('an address in two slices: one endpoint if only the ports differ, else one of each slice', async t => {
  const { put, endpoints } = begin(
    aService('a'),
    aSlice('a-2', 'a', { address: '10.0.0.1', ports: metrics, pod: 'p1' }),
    aSlice('a-1', 'a', { address: '10.0.0.1', ports: http, pod: 'p1' }, { address: '10.0.0.2' }),
  )
  const ready = { ready: true, serving: true, terminating: false }
  const second = { address: '10.0.0.2', ports: http, ...ready }
  t.same(endpoints('a'), [{ address: '10.0.0.1', ports: [...http, ...metrics], ...ready, pod: 'p1' }, second])
  put(aSlice('a-2', 'a', { address: '10.0.0.1', ports: metrics, ready: false, terminating: true, zone: 'z2' }))
  t.same(endpoints('a'), [
    { address: '10.0.0.1', ports: http, ...ready, pod: 'p1' },
    { address: '10.0.0.1', ports: metrics, ready: false, serving: false, terminating: true, zone: 'z2' },
    second,
  ])
  put(aSlice('a-2', 'a', { address: '10.0.0.1', ports: http, pod: 'p1' }))
  t.same(endpoints('a')[0]?.ports, http, 'the same port twice is one port')
  put({ ...aSlice('a-2', 'a'), endpoints: Array(200_000).fill(declared({ address: '10.0.0.2' })) })
  t.equal(endpoints('a').length, 2, 'however often it is said')
})

t.test('Endpoints are used only where there is no slice', async t => {
  const slice = aSlice('a-1', 'a', { address: '10.0.0.2' })
  const { put, remove, addresses } = begin(aService('a'), legacy('a', '10.0.0.1'))
  t.same(addresses('a'), ['10.0.0.1'])
  t.same(put(slice), ['put default/a'])
  t.same(addresses('a'), ['10.0.0.2'])
  t.same(put(legacy('a', '10.0.0.1', '10.0.0.9')), [])
  t.same(remove(slice), ['put default/a'])
  t.same(addresses('a'), ['10.0.0.1', '10.0.0.9'])
  t.same(remove(legacy('a')), ['put default/a'])
  t.same(addresses('a'), [])
})

t.test('an absent serving equals ready, and publishNotReadyAddresses sets ready', async t => {
  const { put, endpoints } = begin(
    aService('a'),
    aSlice(
      'a-1',
      'a',
      { address: '10.0.0.1', ready: false },
      { address: '10.0.0.2', ready: false, serving: true, terminating: true },
    ),
  )
  const states = () => endpoints('a').map(({ ready, serving, terminating }) => [ready, serving, terminating])
  t.same(states(), [
    [false, false, false],
    [false, true, true],
  ])
  t.same(put(aService('a', { publishNotReadyAddresses: true })), ['put default/a'])
  t.same(states(), [
    [true, true, false],
    [true, true, true],
  ])
  put(aService('a'))
  t.same(states(), [
    [false, false, false],
    [false, true, true],
  ])
})

t.test('an endpoint takes the region of its zone, from any node there', async t => {
  const { put, remove, endpoints, sink } = begin(
    aService('a'),
    aSlice(
      'a-1',
      'a',
      { address: '10.0.0.1', zone: 'z1' },
      { address: '10.0.0.2', node: 'n2' },
      { address: '10.0.0.3' },
    ),
  )
  const regions = () => endpoints('a').map(({ region }) => region)
  t.same(regions(), [undefined, undefined, undefined])
  t.same(put({ ...aNode('n7', 'z1'), region: 'east' }), ['put default/a'])
  t.same(put({ ...aNode('n2', 'z2'), region: 'west' }), ['put default/a'])
  t.same(regions(), ['east', 'west', undefined])
  t.same(put({ ...aNode('n8', 'z1'), region: 'east' }), [], 'another node of a known zone')
  t.same(remove(aNode('n7')), [], 'the zone has another node')
  t.same(remove(aNode('n8')), ['put default/a'])
  t.same(regions(), [undefined, 'west', undefined])
  t.same([...sink.nodes.values()], [{ name: 'n2', zone: 'z2', region: 'west' }], 'the sink is told of nodes')
})

t.test('an endpoint without a zone takes that of its node', async t => {
  const { put, remove, endpoints } = begin(
    aService('a'),
    aService('b'),
    aSlice('a-1', 'a', { address: '10.0.0.1', node: 'n1' }, { address: '10.0.0.2', node: 'n1', zone: 'own' }),
    aSlice('b-1', 'b', { address: '10.0.0.3', node: 'n2' }),
  )
  const zones = () => [...endpoints('a'), ...endpoints('b')].map(({ zone }) => zone)
  t.same(zones(), [undefined, 'own', undefined])
  t.same(put(aNode('n1', 'z1')), ['put default/a'], 'only the services with endpoints on the node')
  t.same(put(aNode('n2', 'z2'), aNode('n3', 'z3')), ['put default/b'])
  t.same(zones(), ['z1', 'own', 'z2'])
  t.same(put(aNode('n1')), ['put default/a'])
  t.same(remove(aNode('n2')), ['put default/b'])
  t.same(zones(), [undefined, 'own', undefined])
  put(aSlice('a-1', 'a'))
  t.same(put(aNode('n1', 'z1')), [], 'nobody is there any more')
})

t.test('a ServiceExport is delivered with its Service, whichever comes first', async t => {
  const { assembler, sink } = begin(aService('web'), anExport('later'))
  const exported = (name: string) => {
    assembler.flush(sink)
    return sink.services.get(`default/${name}`)?.exported
  }
  t.equal(exported('web'), undefined)
  assembler.put(anExport('web', 1000))
  t.same(exported('web'), { createdAt: 1000, annotations: {}, labels: {} })
  assembler.put(anExport('web', 2000))
  t.equal(exported('web')?.createdAt, 2000, 'made anew, it is a younger one')
  assembler.remove(anExport('web'))
  t.equal(exported('web'), undefined)
  assembler.put(aService('later'))
  t.same(exported('later'), { annotations: {}, labels: {} })
})

t.test('a ServiceImport stands in while there is no Service, without endpoints of its own', async t => {
  const slice = aSlice('web-1', 'web', { address: '10.0.0.1' })
  const { assembler, sink } = begin(anImport('web'), slice)
  t.match(sink.services.get('default/web'), { imported: true, endpoints: [] })
  const service = aService('web')
  assembler.put(service)
  assembler.flush(sink)
  t.match(sink.services.get('default/web'), { imported: undefined, endpoints: [{ address: '10.0.0.1' }] })
  assembler.remove(service)
  assembler.flush(sink)
  t.match(sink.services.get('default/web'), { imported: true, endpoints: [] })
  assembler.remove(anImport('web'))
  assembler.flush(sink)
  t.notOk(sink.services.has('default/web'))
})

t.test('namespaces', async t => {
  const { put, remove, sink } = begin()
  const shop = (global: boolean): ClusterObject => ({ kind: 'Namespace', namespace: '', name: 'shop', global })
  t.same(put(shop(true)), ['put namespace shop'])
  t.same(put(shop(true)), [])
  t.same(
    put(shop(false), aService('a')),
    ['put namespace shop', 'put default/a'],
    'the gate is told before what passes it',
  )
  t.same(sink.namespaces.get('shop'), { name: 'shop', global: false })
  t.same(remove(shop(false)), ['drop namespace shop'])
  t.same(remove(shop(false)), [])
})

t.test('a reset delivers everything, with the latest changes', async t => {
  const { assembler, sink } = begin(aService('a'), aService('b'))
  assembler.remove(aService('a'))
  assembler.put(aService('c'))
  assembler.reset(sink)
  t.same(sink.news(), ['reset'])
  t.same([...sink.services.keys()], ['default/b', 'default/c'])
  assembler.flush(sink)
  t.same(sink.news(), [])
})

t.test('an import and its derived Service refer to each other, whichever comes first', async t => {
  const { assembler, sink } = begin(anImport('web', 'derived-x'), aService('derived-x'))
  const seen = () => {
    assembler.flush(sink)
    return ['web', 'derived-x'].map(name => {
      const service = sink.services.get(`default/${name}`)
      return service?.derived ?? service?.derivedFrom
    })
  }
  t.same(seen(), ['derived-x', 'web'])
  assembler.put(aService('web'))
  t.same(seen(), ['derived-x', 'web'], 'beside a Service of that name as well')
  assembler.put(anImport('web', 'derived-y'))
  t.same(seen(), ['derived-y', undefined])
  assembler.put(anImport('web', 'derived-x'))
  assembler.remove(aService('derived-x'))
  t.same(seen(), ['derived-x', undefined])
  assembler.put(aService('derived-x'))
  t.same(seen(), ['derived-x', 'web'])
  assembler.remove(anImport('web'))
  t.same(seen(), [undefined, undefined])
})

t.test('an export that describes its service stands in for it, with the backends of the derived Service', async t => {
  const { spec } = aService('web', { headless: true })
  const standIn = { spec, backendsOf: 'default/derived-x' }
  const { put, remove, addresses, sink } = begin({ ...anExport('web', 1000), standIn })
  t.match(sink.services.get('default/web'), { headless: true, exported: { createdAt: 1000 }, endpoints: [] })
  t.same(put(aSlice('s', 'derived-x', { address: '10.0.0.1', node: 'n1' })), ['put default/web'])
  t.same(addresses('web'), ['10.0.0.1'])
  t.same(put(aNode('n1', 'z1')), ['put default/web'], 'the zone of a node reaches it too')
  t.same(put(aService('web', { ports: [] })), ['put default/web'])
  t.match(
    sink.services.get('default/web'),
    { headless: false, ports: spec.ports, endpoints: [] },
    'a Service comes first',
  )
  t.same(remove(aService('web')), ['put default/web'])
  t.same(addresses('web'), ['10.0.0.1'])
  t.same(remove(anExport('web')), ['drop default/web'])
  t.same(put(aSlice('s', 'derived-x', { address: '10.0.0.2' })), [], 'nothing refers to the derived Service any more')
})

t.test('slices that describe their service make one where there is no other record of it', async t => {
  const implied = (name: string, headless: boolean, ports: EndpointsObject['endpoints'][number]['ports']) => ({
    ...aSlice(name, 'a', { address: '10.0.0.1', ports }),
    implied: { spec: aService('a', { headless, ports: [], labels: { from: name } }).spec, ports },
  })
  const { put, remove, sink } = begin(implied('a-2', true, metrics), implied('a-1', false, http))
  const seen = () => sink.services.get('default/a')
  t.match(seen(), { headless: true, ports: [...http, ...metrics], labels: { from: 'a-1' } })
  t.same(put(legacy('a', '10.0.0.9'), aService('a')), ['put default/a'])
  t.match(seen(), { headless: false, endpoints: [{ address: '10.0.0.1' }] }, 'beside a Service they have the endpoints')
  remove(aService('a'))
  remove(implied('a-1', false, http))
  t.match(seen(), { ports: metrics })
  t.same(remove(implied('a-2', true, metrics)), ['drop default/a'])
})

t.test('for any order of steps, the result equals that of a new assembler with the final objects', async t => {
  const name = fc.constantFrom('a', 'b')
  const anEndpoint = fc.record({
    address: fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.0.3'),
    ready: fc.boolean(),
    serving: fc.constantFrom(undefined, true, false),
    ports: fc.constantFrom(http, metrics),
    node: fc.constantFrom('n1', 'n2'),
  })
  const object: fc.Arbitrary<ClusterObject> = fc.oneof(
    fc
      .record({ name, unready: fc.boolean() })
      .map(({ name, unready }) => aService(name, { publishNotReadyAddresses: unready })),
    fc
      .record({ slice: fc.constantFrom('s1', 's2', 's3'), name, endpoints: fc.array(anEndpoint, { maxLength: 3 }) })
      .map(({ slice, name, endpoints }) => aSlice(slice, name, ...endpoints)),
    fc
      .record({ name, addresses: fc.array(fc.constantFrom('10.0.0.7', '10.0.0.8')) })
      .map(({ name, addresses }) => legacy(name, ...addresses)),
    // The name of a derived Service is a function of the service's name.
    name.map(name => ({
      ...anExport(name),
      standIn: { spec: aService(name).spec, backendsOf: name === 'a' ? 'default/b' : 'default/c' },
    })),
    fc
      .record({ slice: fc.constantFrom('s1', 's4'), headless: fc.boolean(), endpoint: anEndpoint })
      .map(({ slice, headless, endpoint }) => ({
        ...aSlice(slice, 'c', endpoint),
        implied: { spec: { ...aService('c').spec, headless }, ports: endpoint.ports },
      })),
    fc.record({ name, at: fc.constantFrom(1, 2) }).map(({ name, at }) => anExport(name, at)),
    fc
      .record({ name, derived: fc.constantFrom(undefined, 'b', 'c') })
      .map(({ name, derived }) => anImport(name, derived)),
    fc
      .record({ node: fc.constantFrom('n1', 'n2'), zone: fc.constantFrom(undefined, 'z1', 'z2') })
      .map(({ node, zone }) => aNode(node, zone)),
  )
  const step = fc.record({ object, isPut: fc.boolean(), flush: fc.boolean() })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), steps => {
      const stepped = new ServiceAssembler('cluster-1')
      const sink = new RecordingSink()
      const state = new Map<string, ClusterObject>()
      stepped.flush(sink)
      for (const { object, isPut, flush } of steps) {
        const key = `${object.kind} ${object.name}`
        if (isPut) state.set(key, object)
        else state.delete(key)
        if (isPut) stepped.put(object)
        else stepped.remove(object)
        if (flush) stepped.flush(sink)
      }
      stepped.flush(sink)
      const fresh = new ServiceAssembler('cluster-1')
      const reader = new RecordingSink()
      for (const object of state.values()) fresh.put(object)
      fresh.flush(reader)
      const byName = (services: Iterable<ClusterService>) => [...services].sort((a, b) => (a.name < b.name ? -1 : 1))
      return (
        t.strictSame(byName(sink.services.values()), byName(reader.services.values())) && t.same(sink.violations, [])
      )
    }),
    { numRuns: 150 },
  )
})

t.test('a service with too many endpoints keeps those it had, and its cluster is lost until it has fewer', async t => {
  const assembler = new ServiceAssembler('cluster-1', { maxEndpoints: 3 })
  const sink = new RecordingSink()
  const put = (count: number) => {
    const addresses = Array.from({ length: count }, (_, i) => ({ address: `10.0.0.${i + 1}` }))
    assembler.put(aSlice('web-1', 'web', ...addresses))
    assembler.flush(sink)
  }
  const count = () => sink.services.get('default/web')?.endpoints.length
  assembler.put(aService('web'))
  put(3)
  t.same([sink.link, count()], ['live', 3])
  put(4)
  t.same([sink.link, count()], ['lost', 3])
  t.match(sink.error, {
    code: 'SOURCE_LIMIT',
    message:
      'over its limits: default/web has 4 endpoints, more than 3; raise limits.serviceEndpoints of the cluster, or find out what fills it',
  })
  assembler.put(aService('other'))
  assembler.flush(sink)
  t.ok(sink.services.has('default/other'), 'the others go on')
  put(2)
  t.same([sink.link, count()], ['live', 2])
  t.same(sink.violations, [])
})
