/** Clocks that differ: certificates seem expired or not valid yet, and both sides say what time it is where. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Backend } from '../../../proxy/model/backend.ts'
import { type Clock, systemClock } from '../../../proxy/model/time/clock.ts'
import { echo, tcpBackend } from '../../support/backend.ts'
import { eventually } from '../../support/eventually.ts'
import { folderFor, idOf, TunnelAuthority } from '../../support/tunnel/certificates.ts'
import { behindGateway, sharedService, startClient, startGateway } from '../../support/tunnel/rig.ts'

const hourMs = 3_600_000

/** A gateway whose clock can be set, and a client with a certificate of an hour. */
async function world(t: Test, aheadMs: number, terms: { from?: number; to?: number }) {
  const authority = await TunnelAuthority.create()
  const folder = t.testdir()
  const clock = { ahead: aheadMs, ...systemClock, wall: () => Date.now() + clock.ahead } as Clock & { ahead: number }
  const { backend } = await tcpBackend(t, echo)
  const server = await startGateway(t, {
    folder: await folderFor(join(folder, 'gateway'), authority, idOf('cluster-2', 'gateway'), {
      from: Date.now() - 100 * hourMs,
      to: Date.now() + 100 * hourMs,
    }),
    services: [sharedService([backend])],
    clock,
  })
  const proxy = await startClient(t, {
    folder: await folderFor(join(folder, 'proxy'), authority, idOf('cluster-1'), terms),
    gateways: [server.at],
  })
  return { clock, server, proxy, behind: behindGateway([backend])[0] as Backend }
}

for (const [name, ahead, pattern] of [
  ['ahead', 2 * hourMs, /it expired on .* GMT; the clock here says \d{4}-\d\d-\d\dT/],
  ['behind', -2 * hourMs, /it is not valid before .* GMT; the clock here says \d{4}-\d\d-\d\dT/],
] as const) {
  t.test(`the clock of the gateway is ${name}`, async t => {
    const { server, proxy } = await world(t, ahead, { from: Date.now() - hourMs, to: Date.now() + hourMs })
    await eventually(() => assert.match(proxy.client.views('cluster-2')?.[0]?.error ?? '', pattern))
    const refused = server.lines.find(({ event }) => event === 'gateway.refused')
    t.match(String(refused?.fields?.why), pattern)
    t.match(String(refused?.fields?.why), /cluster-1\/sa\/proxy/, 'whose certificate')
  })
}

t.test('a clock that is set right, and one that jumps while connections are open', async t => {
  const { clock, server, proxy, behind } = await world(t, 2 * hourMs, { to: Date.now() + hourMs })
  await eventually(() => assert.match(proxy.client.views('cluster-2')?.[0]?.error ?? '', /it expired on/))
  clock.ahead = 0
  await proxy.open()
  const stream = await proxy.dial(behind)
  clock.ahead = 2 * hourMs
  await eventually(() => assert.match(proxy.client.views('cluster-2')?.[0]?.error ?? '', /it expired on/))
  t.equal(server.gateway.view().streams, 1, 'what is in progress goes on')
  clock.ahead = 0
  await proxy.open()
  stream.reset()
})
