// The pod networks of a node, from whichever object says them.
import assert from 'node:assert/strict'
import t from 'tap'
import { Admission } from '../../../proxy/admission/admission.ts'
import type { Node } from '../../../proxy/model/location.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { decodeKubernetes } from '../../../proxy/sources/decode/decode.ts'
import { createKubernetesSource } from '../../../proxy/sources/kubernetes/kubernetes-source.ts'
import { ServiceAssembler } from '../../../proxy/sources/service-assembler.ts'
import { RecordingSink } from '../../conformance/source.ts'
import { eventually } from '../../support/eventually.ts'
import { hasty } from '../../support/kube-api/clock.ts'
import { writeKubeconfig } from '../../support/kube-api/kubeconfig.ts'
import { startKubeApi } from '../../support/kube-api/server.ts'
import { builtIn, nodeNetworks } from '../../support/kube-api/types.ts'
import { clusterService, endpoint } from '../../support/model.ts'

const kubeNode = (name: string, ...podCIDRs: string[]) => ({
  ...{ apiVersion: 'v1', kind: 'Node', metadata: { name } },
  spec: { podCIDR: podCIDRs[0], podCIDRs },
  status: { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] },
})
const ciliumNode = (name: string, ...podCIDRs: string[]) => ({
  ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumNode', metadata: { name } },
  spec: { addresses: [{ type: 'InternalIP', ip: '192.0.2.1' }], ipam: { podCIDRs } },
})
const block = (name: string, cidr: string, affinity: string | undefined, deleted = false) => ({
  ...{ apiVersion: 'crd.projectcalico.org/v1', kind: 'IPAMBlock', metadata: { name } },
  spec: { affinity, allocations: [null, 0], attributes: [], cidr, deleted, strictAffinity: false, unallocated: [] },
})

function assembled() {
  const assembler = new ServiceAssembler('east')
  const sink = new RecordingSink()
  assembler.reset(sink)
  const networks = (name = 'a') => sink.nodes.get(name)?.podCidrs
  return {
    networks,
    put: (object: object) => {
      const { object: decoded, ref, faults } = decodeKubernetes(object)
      assert.deepEqual(faults, [])
      if (decoded) assembler.put(decoded)
      else if (ref) assembler.remove(ref)
      assembler.flush(sink)
      return networks()
    },
    remove: (object: object) => {
      const { ref } = decodeKubernetes(object)
      if (ref) assembler.remove(ref)
      assembler.flush(sink)
      return networks()
    },
  }
}

t.test('a CiliumNode says more than its Node, whichever comes first', async t => {
  const { put, remove } = assembled()
  t.equal(put(ciliumNode('a', '10.9.0.0/24', 'fd00:9::/64')), undefined, 'no node without its Node')
  t.same(put(kubeNode('a', '10.1.0.0/24')), ['10.9.0.0/24', 'fd00:9::/64'])
  t.same(put(ciliumNode('a', '10.8.0.0/24')), ['10.8.0.0/24'])
  t.same(put(ciliumNode('a')), ['10.1.0.0/24'], 'addresses that are assigned one by one make no network')
  put(ciliumNode('a', '10.8.0.0/24'))
  t.same(remove(ciliumNode('a')), ['10.1.0.0/24'])
})

t.test("Calico's blocks belong to the node that they are affine to", async t => {
  const { put, remove, networks } = assembled()
  put(kubeNode('a', '10.1.0.0/24'))
  put(kubeNode('b'))
  t.same(put(block('1', '10.9.1.0/26', 'host:a')), ['10.9.1.0/26'])
  t.same(put(block('2', '10.9.2.0/26', 'host:a')), ['10.9.1.0/26', '10.9.2.0/26'])
  t.same(put(block('1', '10.9.1.0/26', 'host:b')), ['10.9.2.0/26'], 'it moves')
  t.same(networks('b'), ['10.9.1.0/26'])
  t.same(put(block('2', '10.9.2.0/26', 'host:a', true)), ['10.1.0.0/24'], 'it is about to go')
  t.same(put(block('3', '10.9.3.0/26', undefined)), ['10.1.0.0/24'])
  remove(block('1', '', undefined))
  t.equal(networks('b'), undefined)
})

t.test('the WireGuard key of a node is an annotation of its Node; what is none is left out', async t => {
  const key = `${'A'.repeat(43)}=`
  const annotated = (text: string) => {
    const node = kubeNode('a', '10.1.0.0/24')
    return decodeKubernetes({
      ...node,
      metadata: { ...node.metadata, annotations: { 'starlane.dev/wireguard-key': text } },
    }).object
  }
  t.match(annotated(key), { wireguardKey: key })
  for (const bad of ['', 'A', `${'A'.repeat(44)}`, `${'A'.repeat(42)}B=`, `${key} peer x`]) {
    t.notMatch(annotated(bad), { wireguardKey: String }, bad)
  }
  const assembler = new ServiceAssembler('east')
  const sink = new RecordingSink()
  assembler.reset(sink)
  const object = annotated(key)
  if (object) assembler.put(object)
  assembler.flush(sink)
  t.equal(sink.nodes.get('a')?.wireguardKey, key)
})

t.test('from an API server: whole Nodes and what CNIs say, and nothing else', async t => {
  const api = await startKubeApi({})
  t.teardown(() => api.stop())
  const kubeconfig = `${t.testdir({})}/config`
  writeKubeconfig(kubeconfig, [{ name: 'east', server: api.url }])
  api.put(kubeNode('a', '10.1.0.0/24', 'fd00:1::/64'))
  const sink = new RecordingSink()
  const world = { clock: hasty(40), random: Math.random, log: silentLog, env: {} }
  const source = createKubernetesSource({ cluster: 'east', kubeconfig, nodes: 'only' }, world)
  source.start(sink)
  t.teardown(() => source.close())
  const node: Node = { name: 'a', addresses: ['192.0.2.1'], podCidrs: ['10.1.0.0/24', 'fd00:1::/64'] }
  await eventually(() => assert.deepEqual(sink.nodes.get('a'), node))
  const asked = new Set(api.seen.map(({ resource = '' }) => resource.split('/').at(-1)))
  t.same(asked, new Set(['nodes', 'ciliumnodes', 'ipamblocks']))
})

t.test('from an API server whose services are read: they are claims of its cluster', async t => {
  const api = await startKubeApi({ types: [...builtIn, ...nodeNetworks] })
  t.teardown(() => api.stop())
  const kubeconfig = `${t.testdir({})}/config`
  writeKubeconfig(kubeconfig, [{ name: 'east', server: api.url }])
  api.put(kubeNode('a', '10.1.0.0/24'))
  const sink = new RecordingSink()
  const admission = new Admission({ wholeAddresses: false })
  for (const [i, name] of ['east', 'west'].entries()) admission.allow(name, { loopback: false, rank: i })
  const west = new RecordingSink()
  const world = { clock: hasty(40), random: Math.random, log: silentLog, env: {} }
  const source = createKubernetesSource({ cluster: 'east', kubeconfig }, world)
  source.start(admission.sink('east', sink))
  t.teardown(() => source.close())
  await eventually(() => assert.ok(sink.nodes.has('a')))
  const to = admission.sink('west', west)
  const addresses = ['10.1.0.7', '192.0.2.1', '10.2.0.7']
  to.reset({
    services: [clusterService({ cluster: 'west', endpoints: addresses.map(address => endpoint({ address })) })],
    namespaces: [],
  })
  const admitted = () => [...west.services.values()].flatMap(({ endpoints }) => endpoints.map(({ address }) => address))
  t.same(admitted(), ['10.2.0.7'], 'a Pod of its Node, and the Node, are not those of another cluster')
  t.match(admission.problems(), [{ message: /10\.1\.0\.7/ }, { message: /192\.0\.2\.1/ }])
  api.put(ciliumNode('a', '10.2.0.0/24'))
  await eventually(() => assert.deepEqual(admitted(), ['10.1.0.7']))
  t.pass('what Cilium says counts')
})

t.test('from an API server of a cluster with Cilium, and of one with Calico, as they change', async t => {
  const api = await startKubeApi({ types: [...builtIn, ...nodeNetworks] })
  t.teardown(() => api.stop())
  const kubeconfig = `${t.testdir({})}/config`
  writeKubeconfig(kubeconfig, [{ name: 'east', server: api.url }])
  for (const name of ['a', 'b']) api.put(kubeNode(name))
  api.put(ciliumNode('a', '10.9.0.0/24', 'fd00:9::/64'))
  api.put(block('10-5-0-0-26', '10.5.0.0/26', 'host:b'))
  const sink = new RecordingSink()
  const world = { clock: hasty(40), random: Math.random, log: silentLog, env: {} }
  const source = createKubernetesSource({ cluster: 'east', kubeconfig, nodes: 'only' }, world)
  source.start(sink)
  t.teardown(() => source.close())
  const has = (name: string, ...podCidrs: string[]) =>
    eventually(() => assert.deepEqual(sink.nodes.get(name)?.podCidrs, podCidrs))
  await has('a', '10.9.0.0/24', 'fd00:9::/64')
  await has('b', '10.5.0.0/26')
  api.put(block('10-5-0-64-26', '10.5.0.64/26', 'host:b'))
  await has('b', '10.5.0.0/26', '10.5.0.64/26')
  api.put(ciliumNode('a', '10.9.1.0/24'))
  await has('a', '10.9.1.0/24')
  api.put(block('10-5-0-64-26', '10.5.0.64/26', undefined))
  await has('b', '10.5.0.0/26')
  t.pass('networks come and go')
})
