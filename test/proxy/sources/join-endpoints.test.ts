/** Endpoints that share an address: which of them has a port, and which are one. */
import t from 'tap'
import type { Endpoint } from '../../../proxy/model/service.ts'
import { decodeKubernetes } from '../../../proxy/sources/decode/decode.ts'
import { joinEndpoints } from '../../../proxy/sources/join-endpoints.ts'
import { assembled } from '../../support/etcd/assembled.ts'
import { endpoint } from '../../support/model.ts'

const at = (port: number, given: Partial<Endpoint> = {}): Endpoint =>
  endpoint({ address: '10.0.0.1', ports: [{ name: 'http', protocol: 'TCP', port }], ...given })
const unready = { ready: false, serving: false }
const leaving = { ready: false, serving: true, terminating: true }

/** `8080 pod-a ready`, for each endpoint that is left. */
function shown(...endpoints: Endpoint[]): string[] {
  return joinEndpoints(endpoints.map(each => [each])).map(
    ({ ports, pod, ready, terminating }) =>
      `${ports.map(({ port }) => port)} ${pod} ${ready ? 'ready' : terminating ? 'terminating' : 'unready'}`,
  )
}

t.test('pods on the host network share an address and have a port each', async t => {
  t.same(shown(at(8080, { pod: 'a' }), at(8081, { pod: 'b', ...unready })), ['8080 a ready', '8081 b unready'])
  t.same(shown(at(8080, { pod: 'a', node: 'n1' }), at(8081, { pod: 'b', node: 'n2' })), [
    '8080 a ready',
    '8081 b ready',
  ])
  t.same(shown(at(8080, { weight: 0 }), at(8081)), ['8080 undefined ready', '8081 undefined ready'])
  t.same(shown(at(80, { pod: 'a' }), at(80, { pod: 'a' })), ['80 a ready'], 'the same twice')
})

t.test('a port that two list belongs to the one that does not terminate, then to the ready one', async t => {
  const cases: [Partial<Endpoint>, Partial<Endpoint>, string][] = [
    [{ pod: 'old', ...leaving }, { pod: 'new' }, '80 new ready'],
    [{ pod: 'old', ...leaving }, { pod: 'new', ...unready }, '80 new unready'],
    [{ pod: 'p', ...leaving }, { pod: 'p' }, '80 p ready'],
    [{ pod: 'p', ...unready }, { pod: 'p' }, '80 p ready'],
    [{ pod: 'p', ...leaving, serving: false }, { pod: 'q', ...leaving }, '80 q terminating'],
  ]
  for (const [one, other, winner] of cases) {
    t.same(shown(at(80, one), at(80, other)), [winner])
    t.same(shown(at(80, other), at(80, one)), [winner], 'in either order')
  }
  const [first, second] = joinEndpoints([
    [endpoint({ address: '10.0.0.1', pod: 'old', ...leaving, ports: [...at(80).ports, ...at(81).ports] })],
    [at(80, { pod: 'new' })],
  ])
  t.match(first, { pod: 'old', ports: [{ port: 81 }] }, 'it keeps the ports that are its own')
  t.match(second, { pod: 'new', ports: [{ port: 80 }] })
})

t.test('TCP and UDP of one number are two ports', async t => {
  const udp = at(53, { pod: 'b', ...unready, ports: [{ name: 'dns', protocol: 'UDP', port: 53 }] })
  t.same(shown(at(53, { pod: 'a' }), udp), ['53 a ready', '53 b unready'])
})

t.test('pods without ports stay apart by name', async t => {
  const portless = (hostname: string, given: Partial<Endpoint> = {}) =>
    endpoint({ address: '10.0.0.1', ports: [], hostname, ...given })
  const names = joinEndpoints([[portless('a'), portless('b'), portless('c', unready)]]).map(e => e.hostname)
  t.same(names, ['a', 'b', 'c'])
})

t.test('v1 Endpoints with one IP in both lists', async t => {
  const decoded = [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'a' },
      spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }] },
    },
    {
      apiVersion: 'v1',
      kind: 'Endpoints',
      metadata: { name: 'a' },
      subsets: [
        { addresses: [{ ip: '10.0.0.1', hostname: 'x' }], ports: [{ name: 'http', port: 8080 }] },
        { notReadyAddresses: [{ ip: '10.0.0.1', hostname: 'y' }], ports: [{ name: 'grpc', port: 9090 }] },
        { notReadyAddresses: [{ ip: '10.0.0.2' }], addresses: [{ ip: '10.0.0.2' }], ports: [{ port: 70 }] },
      ],
    },
  ].flatMap(value => decodeKubernetes(value).object ?? [])
  t.match(assembled('one', ...decoded)[0]?.endpoints, [
    { address: '10.0.0.1', hostname: 'x', ready: true, ports: [{ port: 8080 }] },
    { address: '10.0.0.1', hostname: 'y', ready: false, ports: [{ port: 9090 }] },
    { address: '10.0.0.2', ready: true, ports: [{ port: 70 }] },
  ])
})
