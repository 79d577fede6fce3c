/** The traffic of several processes, added up. */
import t from 'tap'
import { joined } from '../../../../proxy/cli/see/joined-traffic.ts'
import type { ClientTraffic, Traffic, TrafficRates } from '../../../../proxy/model/flows/traffic.ts'

/** So many connections, failed attempts and refusals a second. */
function rates(perSecond: number, failed: number, refused = 0, more: Partial<TrafficRates> = {}): TrafficRates {
  return {
    perSecond,
    open: perSecond,
    failed: failed === 0 ? 0 : failed / (failed + perSecond),
    refused: refused === 0 ? 0 : refused / (refused + perSecond),
    failedPerSecond: failed,
    refusedPerSecond: refused,
    sentPerSecond: 10 * perSecond,
    receivedPerSecond: 100 * perSecond,
    ...more,
  }
}

const client = (given: Partial<ClientTraffic>): ClientTraffic => ({
  ...{ address: '10.0.0.7', flows: 10, perSecond: 1, open: 2, failed: 0, refused: 0, sent: 5, received: 50 },
  services: [],
  ...given,
})

function process(service: TrafficRates, given: { history?: number[]; clients?: ClientTraffic[] } = {}): Traffic {
  const { history = [], clients = [] } = given
  return {
    now: 0,
    node: 'n',
    historyMs: 5000,
    services: [{ namespace: 'shop', name: 'cart', ...service, history, clusters: [{ cluster: 'one', ...service }] }],
    clusters: [{ cluster: 'one', ...service }],
    clients,
  }
}

const join = (...all: Traffic[]) => joined(all, all[0] as Traffic)

t.test('shares are of all attempts and flows, also where a process has nothing but failures', t => {
  const sum = { perSecond: 10, failed: 0.75, refused: 0.5, failedPerSecond: 30, refusedPerSecond: 10, open: 10 }
  t.match(join(process(rates(10, 0)), process(rates(0, 30, 10))), {
    services: [{ name: 'cart', ...sum, clusters: [{ cluster: 'one', ...sum }] }],
    clusters: [{ cluster: 'one', ...sum, sentPerSecond: 100, receivedPerSecond: 1000 }],
  })
  t.match(join(process(rates(0, 0)), process(rates(0, 0))).services, [{ failed: 0, refused: 0 }])
  t.match(join(process(rates(0, 5)), process(rates(0, 5))).clusters, [{ failed: 1 }])
  t.end()
})

t.test('a process of the version before, without these rates, counts by its shares', t => {
  const { failedPerSecond: _f, refusedPerSecond: _r, ...old } = rates(10, 10)
  t.match(join(process(rates(20, 0)), process(old as TrafficRates)).clusters, [{ perSecond: 30, failed: 0.25 }])
  t.end()
})

t.test('of percentiles the worst; histories end together', t => {
  const one = process(rates(1, 0, 0, { dialP50: 1, dialP99: 9 }), { history: [1, 2, 3] })
  const two = process(rates(1, 0, 0, { dialP50: 4, dialP99: 5 }), { history: [10] })
  t.match(join(one, two).services, [{ dialP50: 4, dialP99: 9, history: [1, 2, 13] }])
  t.notOk(join(process(rates(1, 0)), process(rates(1, 0))).services[0]?.dialP99)
  t.end()
})

t.test('a client of several processes is one, with the services that it uses most', t => {
  const uses = (...pairs: [string, number][]) => pairs.map(([service, flows]) => ({ service, flows }))
  const one = client({ pod: 'web', namespace: 'shop', services: uses(['shop/a', 6], ['shop/b', 4]) })
  const two = client({ pod: 'web', namespace: 'shop', flows: 30, failed: 1, services: uses(['shop/b', 30]) })
  const other = client({ address: '10.0.0.8' })
  const { clients } = join(process(rates(1, 0), { clients: [one, other] }), process(rates(1, 0), { clients: [two] }))
  t.match(clients, [
    { pod: 'web', flows: 40, perSecond: 2, open: 4, failed: 0.75, sent: 10, received: 100 },
    { address: '10.0.0.8', flows: 10, failed: 0 },
  ])
  t.same(clients[0]?.services, uses(['shop/b', 34], ['shop/a', 6]))
  t.end()
})
