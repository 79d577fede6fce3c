/** Certificates from a SPIFFE Workload API: rotation, federated trust domains, and what it may not give. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Backend } from '../../../proxy/model/backend.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { Credentials } from '../../../proxy/tunnel/certificates/credentials.ts'
import { echo, tcpBackend } from '../../support/backend.ts'
import { eventually } from '../../support/eventually.ts'
import { idOf, TunnelAuthority } from '../../support/tunnel/certificates.ts'
import {
  behindGateway,
  type Line,
  recordingLog,
  sharedService,
  startClient,
  startGateway,
} from '../../support/tunnel/rig.ts'
import { FakeWorkloadApi } from '../../support/tunnel/workload-api.ts'

/** Names of sockets are at most 107 bytes. */
async function sockets(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'starlane-spiffe-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** Retries of the API come in a hundredth of their time, and a start waits no longer for it either: tests await the answer. */
const hasty = { ...systemClock, after: (ms: number, run: () => void) => systemClock.after(ms / 100, run) }

function credentialsOf(t: Test, endpoint: string, id?: string) {
  const lines: Line[] = []
  const from = { workloadApi: endpoint, id }
  const credentials = new Credentials({ from, clusters: () => [], clock: hasty, log: recordingLog(lines) })
  t.teardown(() => credentials.close())
  return { credentials, lines }
}

t.test('a tunnel between two trust domains, each with its own roots, and their rotation', async t => {
  const folder = await sockets(t)
  const [one, two] = [await TunnelAuthority.create('one'), await TunnelAuthority.create('two')]
  const clientId = idOf('cluster-1', 'proxy', 'one.test')
  const serverId = idOf('cluster-2', 'gateway', 'two.test')
  const near = await FakeWorkloadApi.start(t, join(folder, 'near'))
  const far = await FakeWorkloadApi.start(t, join(folder, 'far'))
  const svid = async (authority: TunnelAuthority, id: string) => ({
    id,
    issued: await authority.issue(id),
    roots: authority.pem,
  })
  near.give([await svid(one, clientId)], { 'spiffe://two.test': two.pem })
  far.give([await svid(two, serverId)], { 'spiffe://one.test': one.pem })

  const { backend } = await tcpBackend(t, echo)
  const peers = [{ cluster: 'cluster-1', trustDomain: 'one.test', ids: [] }]
  const server = await startGateway(t, {
    from: { workloadApi: far.endpoint },
    services: [sharedService([backend])],
    peers,
  })
  const identity = { cluster: 'cluster-2', trustDomain: 'two.test', ids: [] }
  const proxy = await startClient(t, { from: { workloadApi: near.endpoint }, gateways: [server.at], identity })
  await proxy.open()
  const [behind] = behindGateway([backend]) as [Backend]
  const stream = await proxy.dial(behind)
  t.equal(near.refused + far.refused, 0)

  const serial = () => proxy.credentials.material?.leaf.serialNumber
  const before = serial()
  near.give([await svid(one, clientId)], { 'spiffe://two.test': two.pem })
  await eventually(() => assert.notEqual(serial(), before))
  await proxy.open()
  t.ok(proxy.lines.some(({ event }) => event === 'certificate.rotated'))
  t.equal(server.gateway.view().streams, 1, 'what is in progress goes on')
  stream.reset()

  // Its roots are gone: whoever leads to them is cut at once, and refused from then on.
  const third = await TunnelAuthority.create('one')
  far.give([await svid(two, serverId)], { 'spiffe://one.test': third.pem })
  await eventually(() => {
    const [view] = proxy.client.views('cluster-2') ?? []
    assert.match(
      view?.error ?? '',
      /no root that is trusted here has signed it|not signed by a root of trust domain one\.test/,
    )
  })
  near.give([await svid(third, clientId)], { 'spiffe://two.test': two.pem })
  await proxy.open()
})

t.test('a trust domain signs its own ids only', async t => {
  const folder = await sockets(t)
  const [one, two] = [await TunnelAuthority.create('one'), await TunnelAuthority.create('two')]
  const far = await FakeWorkloadApi.start(t, join(folder, 'far'))
  const near = await FakeWorkloadApi.start(t, join(folder, 'near'))
  const serverId = idOf('cluster-2', 'gateway', 'two.test')
  far.give([{ id: serverId, issued: await two.issue(serverId), roots: two.pem }], { 'one.test': one.pem })
  // The authority of one.test signs an id of two.test, which stands for another cluster.
  const lie = idOf('cluster-1', 'proxy', 'two.test')
  near.give([{ id: lie, issued: await one.issue(lie), roots: one.pem + two.pem }])
  const peers = [
    { cluster: 'cluster-1', trustDomain: 'two.test', ids: [] },
    { cluster: 'cluster-3', trustDomain: 'one.test', ids: [] },
    { cluster: 'cluster-4', trustDomain: 'three.test', ids: [] },
  ]
  const server = await startGateway(t, { from: { workloadApi: far.endpoint }, services: [], peers })
  const identity = { cluster: 'cluster-2', trustDomain: 'two.test', ids: [] }
  const proxy = await startClient(t, { from: { workloadApi: near.endpoint }, gateways: [server.at], identity })
  const error = () => proxy.client.views('cluster-2')?.[0]?.error ?? ''
  await eventually(() => assert.match(error(), /it is not signed by a root of trust domain two\.test/))
  t.ok(
    server.lines.some(
      ({ event, fields }) => event === 'gateway.refused' && /trust domain two\.test/.test(String(fields?.why)),
    ),
  )

  const stranger = idOf('cluster-4', 'proxy', 'three.test')
  near.give([{ id: stranger, issued: await one.issue(stranger), roots: one.pem }], { 'two.test': two.pem })
  await eventually(() => assert.match(error(), /gives no roots of trust domain three\.test; federate with it/))
})

t.test('an API that is away, has no identity, or gives what cannot be used', async t => {
  const folder = await sockets(t)
  const path = join(folder, 'agent')
  const { credentials, lines } = credentialsOf(t, `unix://${path}`)
  await credentials.start()
  const problem = () => credentials.problems()[0]?.message ?? ''
  await eventually(() => assert.match(problem(), /^unix:\/\/\/.*agent does not answer: /))
  t.equal(credentials.isValid, false)
  const api = await FakeWorkloadApi.start(t, path)
  await eventually(() =>
    assert.match(problem(), /has no identity for this process \(no identity issued\); register an entry/),
  )
  const authority = await TunnelAuthority.create()
  const [id, other] = [idOf('cluster-1'), idOf('cluster-2')]
  const issued = await authority.issue(id)
  const cases: [string, () => Promise<{ id: string; issued: { cert: string; key: string }; roots: string }>, RegExp][] =
    [
      [
        'of another id',
        async () => ({ id: other, issued, roots: authority.pem }),
        /its certificate is that of .*cluster-1/,
      ],
      [
        'another key',
        async () => ({ id, issued: { ...issued, key: (await authority.issue(id)).key }, roots: authority.pem }),
        /its key is not that of its certificate/,
      ],
    ]
  for (const [name, given, pattern] of cases) {
    await t.test(name, async () => {
      api.give([await given()])
      await eventually(() => assert.match(problem(), pattern))
    })
  }
  api.give([{ id, issued, roots: authority.pem }])
  await eventually(() => assert.equal(credentials.isValid, true))
  t.same(credentials.problems(), [])
  const asked = api.asked
  api.drop()
  await eventually(() => assert.ok(api.asked > asked && credentials.problems().length === 0), 20_000)
  t.equal(credentials.material?.id.id, id, 'what it has given stays in use meanwhile')
  t.ok(lines.some(({ event }) => event === 'certificate.unusable'))
})

t.test('one of several identities', async t => {
  const api = await FakeWorkloadApi.start(t, join(await sockets(t), 'agent'))
  const authority = await TunnelAuthority.create()
  const ids = [idOf('cluster-1'), idOf('cluster-1', 'gateway')]
  const svids = await Promise.all(
    ids.map(async id => ({ id, issued: await authority.issue(id), roots: authority.pem })),
  )
  api.give(svids)
  for (const [wanted, found] of [
    [undefined, ids[0]],
    [ids[1], ids[1]],
  ] as const) {
    const { credentials } = credentialsOf(t, api.endpoint, wanted)
    await credentials.start()
    await eventually(() => assert.equal(credentials.material?.id.id, found))
  }
  const { credentials } = credentialsOf(t, api.endpoint, 'spiffe://mesh.test/ns/x/sa/y')
  await credentials.start()
  const pattern = /has no identity spiffe:\/\/mesh\.test\/ns\/x\/sa\/y, only spiffe:/
  await eventually(() => assert.match(credentials.problems()[0]?.message ?? '', pattern))
})
