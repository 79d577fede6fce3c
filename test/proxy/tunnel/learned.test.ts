/** Gateways that clusters name themselves: in Services, on nodes and in the cluster-config, as claims that are checked. */
import assert from 'node:assert/strict'
import { lookup } from 'node:dns'
import { join } from 'node:path'
import t from 'tap'
import { Admission } from '../../../proxy/admission/admission.ts'
import { decodeClusterConfig } from '../../../proxy/clients/etcd/cluster-config.ts'
import { silentSink } from '../../../proxy/model/sink.ts'
import { clusterConfigValue } from '../../../proxy/publish/encode-cilium.ts'
import { Export } from '../../../proxy/publish/export.ts'
import { guarded, LearnedGateways } from '../../../proxy/runtime/tunnel/learned-gateways.ts'
import { decodeKubernetes } from '../../../proxy/sources/decode/decode.ts'
import { decodeNode } from '../../../proxy/sources/etcd/decode-cilium.ts'
import { ServiceAssembler } from '../../../proxy/sources/service-assembler.ts'
import { linesOf, SnapshotReader } from '../../../proxy/state/snapshot-lines.ts'
import { echo, tcpBackend } from '../../support/backend.ts'
import { eventually } from '../../support/eventually.ts'
import { folderFor, idOf, TunnelAuthority } from '../../support/tunnel/certificates.ts'
import { behindGateway, sharedService, startClient, startGateway } from '../../support/tunnel/rig.ts'

const mark = { 'starlane.dev/gateway': 'true' }

function service({
  labels = {},
  annotations = {},
  type = 'LoadBalancer',
  ports = [{ port: 15008 }],
  ingress = [],
}: {
  labels?: object
  annotations?: object
  type?: string
  ports?: object[]
  ingress?: object[]
}) {
  const { object, faults } = decodeKubernetes({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'gateway', namespace: 'starlane', labels, annotations },
    spec: { type, clusterIP: '10.96.0.3', ports },
    status: { loadBalancer: { ingress } },
  })
  const gateways = object?.kind === 'Service' ? (object.gateways ?? []) : []
  return { object, gateways: gateways.map(({ text }) => text), faults: faults.map(({ message }) => message).join() }
}

t.test('a Service of type LoadBalancer', async t => {
  const ingress = [{ ip: '203.0.113.7' }, { hostname: 'lb.example' }, { ip: '2001:db8:0::7' }]
  t.same(service({ labels: mark, ingress }).gateways, ['203.0.113.7:15008', 'lb.example:15008', '[2001:db8::7]:15008'])
  t.same(service({ annotations: mark, ingress: [{ ip: '203.0.113.7' }] }).gateways, ['203.0.113.7:15008'])
  const named = [
    { name: 'metrics', port: 9090 },
    { name: 'hbone', port: 443 },
  ]
  t.same(service({ labels: mark, ports: named, ingress: [{ ip: '203.0.113.7' }] }).gateways, ['203.0.113.7:443'])
  t.same(service({ labels: mark }), { ...service({ labels: mark }), gateways: [], faults: '' }, 'no address yet')
  t.same(service({ ingress }).gateways, [], 'without the mark it is any Service')
  const marked = (value: string) => service({ labels: { 'starlane.dev/gateway': value }, ingress })
  t.same(marked('TRUE').gateways, service({ labels: mark, ingress }).gateways, 'in any case')
  t.match(
    [marked('false'), marked('False')],
    [
      { gateways: [], faults: '' },
      { gateways: [], faults: '' },
    ],
  )
  t.match(marked('yes'), { gateways: [], faults: /"yes" is neither "true" nor "false"; it is no gateway/ })
  t.match(service({ labels: mark, type: 'ClusterIP' }), { gateways: [], faults: /only a LoadBalancer has addresses/ })
  const two = [
    { name: 'a', port: 1 },
    { name: 'b', port: 2 },
  ]
  t.match(service({ labels: mark, ports: two, ingress }), { gateways: [], faults: /neither port 15008/ })
})

t.test('an annotation with addresses, on any Service', async t => {
  const list = (text: string) => service({ type: 'ClusterIP', annotations: { 'starlane.dev/gateways': text } })
  t.same(list('gw.example, 203.0.113.9:443,[2001:db8::1]').gateways, [
    'gw.example:15008',
    '203.0.113.9:443',
    '[2001:db8::1]:15008',
  ])
  t.match(list('gw.example, http://x/'), { gateways: ['gw.example:15008'], faults: /"http:\/\/x\/" is not a gateway/ })
  t.same(list('').gateways, [])
})

t.test('a node of Cilium’s etcd, and the cluster-config', async t => {
  const owner = { cluster: 'east', clusterId: 7, maxClusters: 255 } as const
  const node = (label: string | undefined, ...addresses: object[]) =>
    decodeNode(
      'n1',
      Buffer.from(
        JSON.stringify({
          ...{ Name: 'n1', Cluster: 'east', ClusterID: 7, IPAddresses: addresses },
          Labels: label === undefined ? {} : { 'starlane.dev/gateway': label },
        }),
      ),
      owner,
    ).gateways?.map(({ text }) => text)
  const [inner, outer] = [
    { Type: 'InternalIP', IP: '10.0.0.4' },
    { Type: 'ExternalIP', IP: '203.0.113.4' },
  ]
  const cilium = { Type: 'CiliumInternalIP', IP: '10.1.0.9' }
  t.same(node('true', cilium, inner, outer), ['203.0.113.4:15008'])
  t.same(node('True', inner), ['10.0.0.4:15008'])
  t.same(node('31008', cilium, inner), ['10.0.0.4:31008'])
  t.same(node('nonsense', inner), [])
  t.same(node(undefined, inner, outer), undefined)
  const options = { cluster: 'east', clusterId: 7, slices: false }
  t.same(decodeClusterConfig(clusterConfigValue({ ...options, gateways: ['gw.example:15008'] })).gateways, [
    'gw.example:15008',
  ])
  t.same(decodeClusterConfig(clusterConfigValue(options)).gateways, [])
  t.same(decodeClusterConfig(Buffer.from('{"id":7,"gateways":"x"}')).gateways, [], 'another’s field of that name')
})

t.test('a publisher that starts takes no gateways away before it knows them', async t => {
  const exported = new Export({ cluster: 'east', clusterId: 7, slices: false, awaitGateways: true })
  t.same(exported.keys.configWrites(), [], 'what is stored stays')
  exported.setGateways(['gw.example:15008'])
  const [write] = exported.keys.configWrites()
  t.same(write && 'value' in write && decodeClusterConfig(write.value as Buffer).gateways, ['gw.example:15008'])
})

t.test('kept up to date, and kept over a restart', async t => {
  const assembler = new ServiceAssembler('east')
  const put = (ip: string) => {
    const { object } = service({ labels: mark, ingress: [{ ip }] })
    if (object) assembler.put(object)
  }
  let changes = 0
  const learned = new LearnedGateways(() => changes++)
  const sink = learned.sink('east', silentSink)
  const named = () => learned.of('east').map(({ text }) => text)
  put('203.0.113.7')
  assembler.flush(sink)
  t.same(named(), ['203.0.113.7:15008'])
  put('203.0.113.8')
  assembler.setGateways([{ host: 'gw.example', port: 15008, text: 'gw.example:15008' }])
  assembler.flush(sink)
  t.same(named(), ['203.0.113.8:15008', 'gw.example:15008'])
  const before = changes
  assembler.flush(sink)
  t.equal(changes, before)
  const reader = new SnapshotReader('east')
  for (const line of linesOf({ services: [], namespaces: [], gateways: learned.of('east') })) reader.add(line)
  t.same(
    reader.snapshot.gateways?.map(({ text }) => text),
    named(),
  )
  assembler.remove({ kind: 'Service', namespace: 'starlane', name: 'gateway' })
  assembler.setGateways(Array.from({ length: 40 }, (_, i) => ({ host: `g${i}`, port: 1, text: `g${i}:1` })))
  assembler.flush(sink)
  t.equal(named().length, 16, 'their number is bounded')
  learned.keep(new Set())
  t.same(named(), [])
})

t.test('no loopback and no metadata address: named, or what a name leads to', async t => {
  const admission = new Admission({ wholeAddresses: false })
  admission.allow('east', { loopback: false })
  const seen: string[] = []
  const sink = admission.sink('east', {
    ...silentSink,
    putGateway: ({ text }) => void seen.push(`+${text}`),
    dropGateway: ({ text }) => void seen.push(`-${text}`),
  })
  for (const host of [
    '127.0.0.1',
    '169.254.169.254',
    '0.0.0.0',
    '::1',
    'fe80::1',
    '::ffff:169.254.169.254',
    '10.0.0.4',
  ]) {
    const gateway = { host, port: 15008, text: `${host}:15008` }
    sink.putGateway?.(gateway)
  }
  t.same(seen, ['+10.0.0.4:15008'])
  t.equal(admission.problems().length, 6)
  t.match(admission.problems()[1], {
    code: 'ADDRESS_REFUSED',
    where: 'east',
    message: /the gateway 169\.254\.169\.254:15008 is link-local/,
  })
  sink.dropGateway?.({ host: '127.0.0.1', port: 15008, text: '127.0.0.1:15008' })
  t.equal(admission.problems().length, 5)
  t.same(seen, ['+10.0.0.4:15008'], 'what was refused is not taken back')

  const find = (loopback: boolean) =>
    new Promise<string>(resolve => {
      const { lookup: guard = lookup } = guarded({ host: 'localhost', port: 1, text: 'localhost:1' }, loopback)
      guard('localhost', {}, (error, address) => resolve(error ? error.message : String(address)))
    })
  t.match(await find(false), /localhost leads to .*, which no cluster may name as its gateway/)
  t.match(await find(true), /^(127\.0\.0\.1|::1)$/)
})

t.test('gateways come and go, and the tunnels to those that stay are the same', async t => {
  const authority = await TunnelAuthority.create()
  const folder = t.testdir()
  const serverFolder = await folderFor(join(folder, 'gateway'), authority, idOf('cluster-2', 'gateway'))
  const clientFolder = await folderFor(join(folder, 'proxy'), authority, idOf('cluster-1'))
  const { backend } = await tcpBackend(t, echo)
  const services = [sharedService([backend])]
  const one = await startGateway(t, { folder: serverFolder, services })
  const two = await startGateway(t, { folder: serverFolder, services })
  const identity = { cluster: 'cluster-2', trustDomain: 'mesh.test', ids: [] }
  const proxy = await startClient(t, { folder: clientFolder, gateways: [], identity })
  const [behind] = behindGateway([backend])
  if (!behind) throw new Error('no backend')
  await t.rejects(proxy.dial(behind), { message: /no gateway of cluster-2: it has no gateway/ })
  const states = () => proxy.client.views('cluster-2')?.map(({ gateway, state }) => `${gateway} ${state}`)
  proxy.client.follow([{ identity, gateways: [one.at] }])
  await proxy.open()
  const stream = await proxy.dial(behind)
  t.equal(one.gateway.view().streams, 1)
  const since = proxy.client.views('cluster-2')?.[0]?.since
  proxy.client.follow([{ identity, gateways: [one.at, two.at] }])
  await eventually(() => assert.deepEqual(states(), [`${one.at.text} open`, `${two.at.text} open`]))
  t.equal(proxy.client.views('cluster-2')?.[0]?.since, since)
  proxy.client.follow([{ identity, gateways: [two.at] }])
  t.same(states(), [`${two.at.text} open`])
  t.equal(one.gateway.view().streams, 1, 'what is in progress goes on')
  ;(await proxy.dial(behind)).reset()
  stream.reset()
  await eventually(() => assert.equal(one.gateway.view().sessions, 0))
})
